"""`reinhard`: mean and deviation in CIE Lab."""

from visagist.merging.color import COLOR, Image, Mask
from visagist.merging.color._lab import match_lab

# A beard on one of the faces increases its deviation by half or more. Matched in full, that would make the skin of the
# other glaring and its eyes black.
RATIO_LIMITS = (0.8, 1.25)


@COLOR.register
def reinhard(predicted: Image, original: Image, mask: Mask) -> Image:
    """Match mean and deviation in CIE Lab (Reinhard et al. 2001).

    "Color Transfer between Images", in Lab (D65) instead of their lαβ, and with a limited ratio of deviations.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> original = rng.uniform(0.3, 0.6, (32, 32, 3)).astype(np.float32)
    >>> matched = reinhard(original * 0.8, original, np.ones((32, 32), np.float32))
    >>> bool(abs(matched - original).mean() < 0.02)
    True
    """
    return match_lab(predicted, original, mask, RATIO_LIMITS)
