"""Reading and writing OpenEXR with the OpenEXR library, since FFmpeg drops metadata and OpenCV needs a special build.

A frame covers the display window and is black outside the data window. Writing replaces only the colour channels
inside the display window of the target's file: other channels, layers, parts, samples and metadata are preserved.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR
from numpy.typing import NDArray

from visagist.core.errors import FootageError, ReadError
from visagist.core.read import MAX_PIXELS, check_regular
from visagist.media.color import Color
from visagist.media.display import Display
from visagist.media.frame import Frame
from visagist.media.scene_linear import REC709

# Re-encoding with these would alter untouched samples.
_LOSSY_COMPRESSIONS = (
    "B44_COMPRESSION",
    "B44A_COMPRESSION",
    "DWAA_COMPRESSION",
    "DWAB_COMPRESSION",
    "LJ2K_COMPRESSION",
)


@dataclass(frozen=True)
class _Picture:
    """An open file and its colour channels."""

    file: OpenEXR.File
    part: OpenEXR.Part
    channels: tuple[OpenEXR.Channel, ...]  # G B R or Y, then A if present
    origin: tuple[int, int]  # of the data window within the display window, x and y
    size: tuple[int, int]  # of the display window, width and height

    @property
    def overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Intersection of display and data window, as row and column slices of the frame and of the channels."""
        rows, columns = self.channels[0].pixels.shape
        (x, y), (width, height) = self.origin, self.size
        top, left = max(0, y), max(0, x)
        bottom, right = max(top, min(height, y + rows)), max(left, min(width, x + columns))
        of_frame = (slice(top, bottom), slice(left, right))
        of_data = (slice(top - y, bottom - y), slice(left - x, right - x))
        return of_frame, of_data


def read_exr(path: Path) -> Frame:
    """Read an OpenEXR picture.

    Returns:
        A frame in `gbrpf16le`, `gbrapf16le` or `grayf16le`, or the `f32` variant if any channel is a 32-bit float.

    Raises:
        FootageError: it cannot be read, or has no usable colour channels.
    """
    picture = _open(path)
    of_frame, of_data = picture.overlap
    is_half = all(channel.pixels.dtype == np.float16 for channel in picture.channels)
    width, height = picture.size
    planes: list[NDArray[np.floating]] = []
    for channel in picture.channels:
        plane = np.zeros((height, width), np.float16 if is_half else np.float32)
        plane[of_frame] = channel.pixels[of_data]
        plane.flags.writeable = False
        planes.append(plane)
    family = {1: "gray", 3: "gbrp", 4: "gbrap"}[len(planes)]
    header = picture.part.header
    declared = header.get("chromaticities")
    chromaticities = None if declared is None else tuple(float(value) for value in declared)
    if chromaticities is not None and np.allclose(chromaticities, REC709, atol=1e-3):
        chromaticities = None
    aspect = Fraction(float(header.get("pixelAspectRatio", 1.0))).limit_denominator(1000)
    display = Display(width, height, aspect if Fraction(1, 8) <= aspect <= 8 else Fraction(1))
    color = Color("rgb", "pc", "unknown" if chromaticities else "bt709", "linear", chromaticities=chromaticities)
    return Frame(0, Fraction(0), f"{family}f{16 if is_half else 32}le", tuple(planes), color, display)


def exr_timecode(path: Path) -> str | None:
    """Timecode of a picture such as `01:00:00:12`, with a semicolon for drop-frame; None if it has none.

    Raises:
        FootageError: the file cannot be read.
    """
    code = _load(path, header_only=True).parts[0].header.get("timeCode")
    if code is None:
        return None
    return f"{code.hours:02}:{code.minutes:02}:{code.seconds:02}{';' if code.dropFrame else ':'}{code.frame:02}"


def write_exr(frame: Frame, target: Path) -> bytes:
    """Encode the target's file with the colour of `frame`, which was derived from it.

    Sample types and compression are the target's, except that lossy compression becomes ZIP. The header's preview
    picture is removed because it would show the original face.

    Raises:
        FootageError: the target cannot be read.
    """
    picture = _open(target)
    of_frame, of_data = picture.overlap
    for channel, plane in zip(picture.channels, frame.planes, strict=True):
        pixels = channel.pixels.copy()
        with np.errstate(over="ignore"):
            pixels[of_data] = plane[of_frame].astype(pixels.dtype)
        channel.pixels = pixels
    for part in picture.file.parts:
        if part.header["compression"].name in _LOSSY_COMPRESSIONS:
            part.header["compression"] = OpenEXR.ZIP_COMPRESSION
        part.header.pop("preview", None)
    file = io.BytesIO()
    picture.file.write(file)
    return file.getvalue()


def _load(path: Path, *, header_only: bool = False) -> OpenEXR.File:
    try:
        check_regular(path)
        file = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
    except (ReadError, RuntimeError, ValueError, TypeError) as error:
        cause = "no such file" if not path.exists() else "damaged, or not OpenEXR"
        raise FootageError(f"{path}: cannot be read as OpenEXR ({cause}); export or copy it again") from error
    if not file.parts:
        raise FootageError(f"{path}: damaged, no samples can be read; export or copy it again")
    return file


def _open(path: Path) -> _Picture:
    for part in _load(path, header_only=True).parts:
        for window in (part.header["dataWindow"], part.header["displayWindow"]):
            width, height = (int(value) + 1 for value in window[1] - window[0])
            if not 0 < width * height <= MAX_PIXELS:
                raise FootageError(f"{path}: a picture of {width}x{height} px cannot be used; export it again")
    file = _load(path)
    found = [(part, names) for part in file.parts if (names := _color(set(part.channels)))]
    if not found:
        listed = ", ".join(sorted({name for part in file.parts for name in part.channels})) or "none"
        raise FootageError(
            f"{path}: no unambiguous colour channels (found: {listed}); export the layer to change as R, G and B"
        )
    part, names = found[0]
    channels = tuple(part.channels[name] for name in names)
    if any(channel.pixels.dtype not in (np.float16, np.float32) for channel in channels):
        raise FootageError(f"{path}: its colour is not stored as half or float; export it as half float")
    if any((channel.xSampling, channel.ySampling) != (1, 1) for channel in channels):
        raise FootageError(f"{path}: its channels have different resolutions; export it as R, G and B")
    data, display = part.header["dataWindow"], part.header["displayWindow"]
    x, y = (int(value) for value in data[0] - display[0])
    width, height = (int(value) + 1 for value in display[1] - display[0])
    return _Picture(file, part, channels, (x, y), (width, height))


def _color(channels: set[str]) -> list[str]:
    """Names of the colour channels in plane order: unprefixed, or of the only layer that has all three."""
    layers = sorted({name.removesuffix("R") for name in channels if name == "R" or name.endswith(".R")})
    layers = [layer for layer in layers if {f"{layer}G", f"{layer}B"} <= channels]
    if "" in layers or len(layers) == 1:
        layer = "" if "" in layers else layers[0]
        return [f"{layer}{name}" for name in "GBRA" if name != "A" or f"{layer}A" in channels]
    return ["Y"] if "Y" in channels and not layers and not {"RY", "BY"} & channels else []
