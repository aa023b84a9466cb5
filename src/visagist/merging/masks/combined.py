"""`combined`: landmark hull times learned mask."""

from visagist.merging.masks import MASKS, Mask, MaskInput
from visagist.merging.masks.shape import grow, sharpen


@MASKS.register
def combined(face: MaskInput) -> Mask:
    """Inside both the landmark hull and the mask predicted by the network; only the hull is eroded."""
    return grow(face.hull, -face.erode) * sharpen(face.learned)
