"""Reading and writing single pictures as RGB."""

from pathlib import Path

import cv2
import numpy as np

from visagist.core.errors import OutputError
from visagist.core.files import write_atomic
from visagist.media.probe import probe
from visagist.media.reader import Reader


def read_picture(path: Path | str) -> np.ndarray:
    """Read a picture, or the first frame of any footage.

    Returns:
        `(h, w, 3)` float32 R'G'B' in [0, 1], upright.

    Raises:
        FootageError: it cannot be opened or decoded.
    """
    with Reader(probe(path), last=0) as reader:
        return next(iter(reader)).rgb()


def write_picture(path: Path | str, rgb: np.ndarray) -> None:
    """Write a picture atomically; arguments as for `encode_picture`.

    Raises:
        OutputError: the suffix is not supported, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".tif", ".tiff", ".jpg", ".jpeg"):
        raise OutputError(f"{path}: unsupported picture format; use .png, .tif or .jpg")
    write_atomic(path, encode_picture(rgb, path.suffix.lower()))


def encode_picture(rgb: np.ndarray, suffix: str) -> bytes:
    """The contents of a picture file.

    Args:
        rgb: `(h, w, 3)` R'G'B', uint8, or float in [0, 1], which PNG and TIFF store as 16 bits.
        suffix: `.png`, `.tif` or `.jpg` (4:4:4, quality 95).
    """
    if rgb.dtype != np.uint8:
        top = 255 if suffix in (".jpg", ".jpeg") else 65535
        rgb = np.clip(rgb * top + 0.5, 0, top).astype(np.uint8 if top == 255 else np.uint16)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(suffix, rgb[:, :, ::-1], quality if suffix in (".jpg", ".jpeg") else [])
    assert done, suffix
    return data.tobytes()
