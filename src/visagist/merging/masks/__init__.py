"""Masks: where the predicted face replaces the frame's own, one mask per file.

A mask is a function of `MaskInput` that returns `(S, S)` float32 in [0, 1]: 1 inside, 0 outside, with or without a soft
edge. It changes none of its arguments. Afterwards `feather` pulls the edge in and softens it. The first line of the
docstring is its description in the docs.
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
    """What is known of one face, in the crop that the network sees; S is the side of the crop.

    Attributes:
        hull: `(S, S)` float32 in [0, 1], hull of the target's landmarks, up the forehead as far as `--mask-forehead`.
        learned: `(S, S)` float32 in [0, 1], the mask that the network drew with the face; outside of it the network
            drew the source's background.
        predicted: `(S, S, 3)` float32 sRGB in [0, 1], the face that the network drew.
        original: the same, the face in the frame.
        erode: per cent of S by which the mask is to be pulled in; negative to push it out.
    """

    hull: Mask
    learned: Mask
    predicted: Image
    original: Image
    erode: float


MASKS: Registry[Callable[[MaskInput], Mask]] = Registry(
    "mask", "visagist.merging.masks", "visagist.masks", besides=("shape",)
)
