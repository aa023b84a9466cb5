"""`mean`: the mean in CIE Lab."""

from visagist.merging.color import COLOR, Image, Mask
from visagist.merging.color._lab import match_lab


@COLOR.register
def mean(predicted: Image, original: Image, mask: Mask) -> Image:
    """Match the mean in CIE Lab and keep the contrast of the prediction."""
    return match_lab(predicted, original, mask, ratio_limits=(1.0, 1.0))
