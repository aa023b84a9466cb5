"""Person segmentation with MediaPipe's selfie model."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.zoo.sessions import session

INPUT_SIDE = 256  # px


def person_mask(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Confidence that each pixel shows a person.

    Args:
        picture: `(h, w, 3)` RGB in [0, 1]. The person should fill much of it, so pass a crop.

    Returns:
        `(h, w)` in [0, 1].
    """
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_AREA)
    (found,) = session("person", threads=1).run(None, {"input_1:0": np.ascontiguousarray(small[None], np.float32)})
    mask = np.asarray(found, np.float32).reshape(INPUT_SIDE, INPUT_SIDE)
    enlarged = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(enlarged, 0, 1).astype(np.float32)
