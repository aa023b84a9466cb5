"""Segmentation of aligned crops into face, hair, occluders and background.

The network (`tools/segmenter`) was trained on crops from `full` to `head` and a little beyond. **Face** is skin with
facial hair, lips, eyes and teeth, without ears and neck; an **occluder** is what covers it, such as a hand, an object,
the frame of glasses, or another head.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.zoo.sessions import session

CLASSES = ("face", "hair", "occluder", "background")
INPUT_SIDE = 256  # px


def segment(crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of the classes.

    Args:
        crop: `(S, S, 3)` RGB in [0, 1], aligned, at coverage `full`, `whole` or `head`.

    Returns:
        `(S, S, 4)` float32 in the order of `CLASSES`, which sum to 1.
    """
    side = len(crop)
    way = cv2.INTER_AREA if side > INPUT_SIDE else cv2.INTER_CUBIC
    small = np.clip(cv2.resize(crop, (INPUT_SIDE, INPUT_SIDE), interpolation=way), 0, 1).astype(np.float32)
    planes = np.ascontiguousarray(small.transpose(2, 0, 1)[None])
    (found,) = session("segmenter", threads=1).run(["probabilities"], {"image": planes})
    classes = np.ascontiguousarray(np.asarray(found, np.float32)[0].transpose(1, 2, 0))
    return cv2.resize(classes, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
