"""`learned`: the network's own mask."""

from visagist.merging.masks import MASKS, Mask, MaskInput
from visagist.merging.masks.shape import grow, sharpen


@MASKS.register
def learned(face: MaskInput) -> Mask:
    """Inside the mask predicted by the network; `--mask-forehead` has no effect."""
    return grow(sharpen(face.learned), -face.erode)
