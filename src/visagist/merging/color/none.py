"""`none`: no transfer."""

from visagist.merging.color import COLOR, Image, Mask


@COLOR.register
def none(predicted: Image, original: Image, mask: Mask) -> Image:
    """Keep the colours of the prediction."""
    return predicted
