"""Colour transfer between the predicted face and the frame that it goes into, one transfer per file.

A transfer is a function `(predicted, original, mask) -> matched`:

- `predicted`: `(H, W, 3)` float32 sRGB in [0, 1], the face that the network drew
- `original`: the same, the face in the frame at the same alignment
- `mask`: `(H, W)` float32 in [0, 1], the weight that the predicted face will have; statistics are taken where it is
  above 0.5

It returns `(H, W, 3)` float32 sRGB in [0, 1], and changes none of its arguments. The first line of its docstring is its
description in the docs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from visagist.core.registry import Registry

Image = NDArray[np.float32]
Mask = NDArray[np.float32]
ColorTransfer = Callable[[Image, Image, Mask], Image]

COLOR: Registry[ColorTransfer] = Registry("colour transfer", "visagist.merging.color", "visagist.color")
