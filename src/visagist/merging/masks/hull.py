"""`hull`: the hull of the landmarks."""

from visagist.merging.masks import MASKS, Mask, MaskInput
from visagist.merging.masks.shape import grow


@MASKS.register
def hull(face: MaskInput) -> Mask:
    """Inside the landmark hull; for networks trained without a mask."""
    return grow(face.hull, -face.erode)
