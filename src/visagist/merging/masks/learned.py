"""`learned`: the network's own mask."""

from visagist.merging.masks import MASKS, Mask, MaskInput
from visagist.merging.masks.shape import grow, sharpen


@MASKS.register
def learned(face: MaskInput) -> Mask:
    """Inside the mask that the network drew, as far as it goes; `--mask-forehead` has no effect."""
    return grow(sharpen(face.learned), -face.erode)
