"""The alpha matte of a render: one grey PNG a frame, white where the face was replaced.

For compositing by hand. A matte shows a shape and no synthetic face.
"""

from pathlib import Path

import cv2
import numpy as np

from visagist.core.errors import OutputError
from visagist.core.files import write_atomic
from visagist.merging.pipeline import Merged


def matte_name(frame: int) -> str:
    """The file name of a frame's matte.

    >>> matte_name(12)
    '00000012.png'
    """
    return f"{frame:08d}.png"


def write_matte(merged: Merged, folder: Path) -> None:
    """Write the weight of the new face at each pixel as a 16-bit grey PNG named by the frame's number.

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
    write_atomic(path, data.tobytes())
