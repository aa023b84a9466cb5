"""Colour transfer between the predicted face and the frame it is composited into, one transfer per file.

A transfer is a function `(predicted, original, mask) -> matched` without side effects. Pictures are `(H, W, 3)` float32
sRGB in [0, 1]; `mask` is `(H, W)` float32 in [0, 1], and statistics are taken where it is above 0.5. The first line of
the function's docstring is its description in the docs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visagist.core.registry import Registry

Image = NDArray[np.float32]
Mask = NDArray[np.float32]
ColorTransfer = Callable[[Image, Image, Mask], Image]

COLOR: Registry[ColorTransfer] = Registry("colour transfer", "visagist.merging.color", "visagist.color")
