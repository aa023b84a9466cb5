"""Decoders for picture formats that FFmpeg does not read faithfully: OpenEXR and HEIC."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from visagist.core.errors import FootageError
from visagist.media.exr import read_exr
from visagist.media.frame import Frame, frame_from_rgb

HEIC_SUFFIXES = frozenset((".heic", ".heif"))


def picture_decoder(path: Path) -> Callable[[Path], Frame] | None:
    """The decoder for a picture, chosen by suffix; None if FFmpeg decodes it."""
    suffix = path.suffix.lower()
    return read_exr if suffix == ".exr" else _read_heic if suffix in HEIC_SUFFIXES else None


def _read_heic(path: Path) -> Frame:
    """Read a HEIC picture upright, as 16 bits if it has more than 8."""
    try:
        import pillow_heif
    except ImportError as error:
        raise FootageError(
            f"{path}: HEIC needs an extra; run `pip install 'visagist[heic]'`, or convert it to JPEG"
        ) from error
    try:
        # libheif applies the rotation stored in the file; the EXIF orientation is only informative.
        pixels = np.asarray(pillow_heif.open_heif(path, convert_hdr_to_8bit=False))
    except FileNotFoundError as error:
        raise FootageError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError, EOFError, SyntaxError, RuntimeError) as error:
        raise FootageError(f"{path}: cannot be read as HEIC ({error}); export or copy it again") from error
    rgb = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels[:, :, :3]
    return frame_from_rgb(rgb if rgb.dtype == np.uint8 else rgb.astype(np.float32) / 65535)
