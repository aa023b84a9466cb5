"""Where the picture shows a person: MediaPipe's selfie segmentation.

- `person_mask`: 0..1 for every pixel of a picture
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.zoo.sessions import session

SIDE = 256  # px, the model's input


def person_mask(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """How surely each pixel shows a person.

    Made for one person who fills a good part of the picture: give a crop rather than a wide shot.

    Args:
        picture: `(h, w, 3)` RGB in [0, 1].

    Returns:
        `(h, w)` in [0, 1].
    """
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    (found,) = session("person", threads=1).run(None, {"input_1:0": np.ascontiguousarray(small[None], np.float32)})
    mask = np.asarray(found, np.float32).reshape(SIDE, SIDE)
    enlarged = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(enlarged, 0, 1).astype(np.float32)
