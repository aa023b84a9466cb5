"""The alpha matte of a render for manual compositing: one grey PNG per frame, white where the face was replaced.

A matte shows no synthetic face and is therefore not signed.
"""

from pathlib import Path

import cv2
import numpy as np

from visagist.core.errors import OutputError
from visagist.core.files import write_atomic
from visagist.merging.pipeline import Merged


def matte_name(frame: int) -> str:
    """File name of the matte of a frame.

    >>> matte_name(12)
    '00000012.png'
    """
    return f"{frame:08d}.png"


def write_matte(merged: Merged, folder: Path) -> None:
    """Write the weight of the predicted face at each pixel as a 16-bit grey PNG named after the frame's index.

    Raises:
        OutputError: the folder cannot be written.
    """
    matte = np.zeros((merged.original.height, merged.original.width), np.uint16)
    if merged.region is not None:
        x0, y0, x1, y1 = merged.region
        matte[y0:y1, x0:x1] = np.rint(merged.weight * 65535)
    path = folder / matte_name(merged.original.index)
    is_encoded, data = cv2.imencode(".png", matte)
    if not is_encoded:
        raise OutputError(f"{path}: OpenCV cannot encode this matte of {matte.shape[1]}x{matte.shape[0]}")
    write_atomic(path, data.tobytes(), is_batch=True)
