"""Masks of the merge, one per file: where the predicted face replaces the frame.

A mask is a function of `MaskInput`, without side effects, that returns `(S, S)` float32 in [0, 1]: 1 inside, 0 outside.
The merge feathers it afterwards. The first line of the function's docstring is its description in the docs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.core.registry import Registry

Image = NDArray[np.float32]
Mask = NDArray[np.float32]


@dataclass(frozen=True)
class MaskInput:
    """Input of a mask function: one face in the network's crop of side S."""

    hull: Mask  # (S, S) hull of the target's landmarks, up the forehead as far as `--mask-forehead`
    learned: Mask  # (S, S) predicted by the network; outside of it, the network predicts the source's background
    predicted: Image  # (S, S, 3) sRGB in [0, 1]
    original: Image  # (S, S, 3) sRGB in [0, 1], the same region of the frame
    erode: float  # % of S by which to shrink the mask; negative to grow it


MASKS: Registry[Callable[[MaskInput], Mask]] = Registry(
    "mask", "visagist.merging.masks", "visagist.masks", besides=("shape",)
)
