"""Opening media files, and converting PyAV's decoded frames to `Frame`."""

import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import av.container
import av.error as av_error
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from visagist.core.errors import FootageError, ReadError
from visagist.core.read import MAX_PIXELS, check_regular
from visagist.media.color import Color, declared_color
from visagist.media.display import UPRIGHT, Display
from visagist.media.footage import Footage
from visagist.media.frame import Frame, Siting
from visagist.media.layout import layout, nearest_layout

_EXIF_TURNS = {
    2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1), 5: (0, 1, 1, 0), 6: (0, -1, 1, 0), 7: (0, -1, -1, 0),
    8: (0, 1, -1, 0),
}  # fmt: skip


PLAYLISTS = frozenset(("concat", "dash", "hls", "imf"))  # FFmpeg formats that only refer to other files
# Read the file that was hashed and nothing else: `p%03d.png` is a name, not a pattern, and nothing is fetched.
OPEN_OPTIONS = {"pattern_type": "none", "protocol_whitelist": "file"}


class Described(NamedTuple):
    """Properties of footage, read from a decoded frame."""

    pixel_format: str
    converted_from: str | None
    display: Display
    color: Color
    siting: Siting


def open_container(path: Path) -> av.container.InputContainer:
    """Open a media file.

    Raises:
        FootageError: it is missing, empty, a folder, a playlist, or not readable by FFmpeg.
    """
    try:
        check_regular(path)
        _check_pixels(path)
    except ReadError as error:
        raise FootageError(f"{error}; check the name") from error
    try:
        if path.stat().st_size == 0:
            raise FootageError(f"{path}: the file is empty; copy or export it again")
        # The prefix keeps a name like take1:2.mov from being parsed as a URL.
        container = av.open(f"file:{path.as_posix()}", metadata_errors="replace", options=OPEN_OPTIONS)
    except (OSError, av_error.FFmpegError) as error:
        if isinstance(error, FileNotFoundError):
            raise FootageError(f"{path}: no such file; check the name") from error
        if isinstance(error, av_error.InvalidDataError):
            causes = "damaged, truncated before its index, or not a media file"
            raise FootageError(f"{path}: FFmpeg cannot open it ({causes}); export or copy it again") from error
        raise FootageError(f"{path}: cannot be opened ({error.strerror}); check name and permissions") from error
    if PLAYLISTS & set(container.format.name.split(",")):
        container.close()  # consent is bound to a file's hash, which would not cover the pictures
        raise FootageError(f"{path}: is a playlist of other files; pass those files, or join them into one")
    return container


def _check_pixels(path: Path) -> None:
    """Check the size of a picture before FFmpeg allocates memory for it, which it does on opening."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                width, height = picture.size
    except (OSError, ValueError, SyntaxError):
        return  # left to FFmpeg to say
    except Image.DecompressionBombError:
        width = height = MAX_PIXELS
    if width * height > MAX_PIXELS:
        raise FootageError(f"{path}: has more than {MAX_PIXELS >> 20} million pixels; scale it down")


def video_stream(container: av.container.InputContainer, path: Path) -> VideoStream:
    """The main video stream; cover art does not count.

    Raises:
        FootageError: there is none.
    """
    found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not found:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise FootageError(f"{path}: no video stream (found: {kinds}); pass a video, an image sequence or a picture")
    best = container.streams.best("video")
    if any(s.codec_context.width * s.codec_context.height > MAX_PIXELS for s in found):
        raise FootageError(f"{path}: has more than {MAX_PIXELS >> 20} million pixels per frame; scale it down")
    return best if isinstance(best, VideoStream) and best in found else found[0]


def describe(frame: VideoFrame, stream: VideoStream, path: Path, *, is_picture: bool) -> Described:
    """Pixel format, display geometry and colour of the first decoded frame.

    Raises:
        FootageError: the colour matrix is not supported.
    """
    name = frame.format.name
    kind = nearest_layout(name)
    little = name.removesuffix("be") + "le" if name.endswith("be") else name
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 8) <= aspect <= 8:
        aspect = Fraction(1)  # 0:1 and absurd values mean "unknown"
    display = Display(frame.width, frame.height, Fraction(aspect), _turn(frame, path, is_picture=is_picture))
    tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
    try:
        color = declared_color(kind, display.size[1], tags, full_name=name.startswith("yuvj"))
    except FootageError as error:
        raise FootageError(f"{path}: {error}") from error
    centred = name.startswith("yuvj") or stream.codec_context.name in ("mpeg1video", "mjpeg")
    return Described(kind.name, None if kind.name == little else name, display, color, "center" if centred else "left")


def _turn(frame: VideoFrame, path: Path, *, is_picture: bool) -> tuple[int, int, int, int]:
    """The linear part of the display matrix; for video only the rotation, not mirroring."""
    if is_picture:
        try:
            with Image.open(path) as picture:
                return _EXIF_TURNS.get(picture.getexif().get(0x0112, 1), UPRIGHT)
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ):
            return UPRIGHT  # formats unknown to Pillow carry no EXIF
    # PyAV 18 frees a frame's side data twice, so that reading the matrix itself can crash the process.
    clockwise = round(-frame.rotation / 90) % 4
    return (UPRIGHT, (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[clockwise]


def frame_of(decoded: VideoFrame, footage: Footage, index: int, time: Fraction) -> Frame:
    """Wrap a decoded frame; native samples are read-only views of the decoder's memory, not copies.

    Raises:
        FootageError: the frame size differs from the footage's.
    """
    display = footage.display
    if (decoded.width, decoded.height) != (display.columns, display.rows):
        change = f"from {display.columns}x{display.rows} to {decoded.width}x{decoded.height}"
        raise FootageError(f"{footage.path}: the frame size changes at frame {index} ({change}); cut the footage there")
    kind = layout(footage.pixel_format)
    assert kind is not None
    name = decoded.format.name
    swapped = name.endswith("be") and name.removesuffix("be") + "le" == kind.name
    if name != kind.name and not swapped:
        levels = 2 if footage.color.range == "pc" else 1
        decoded = decoded.reformat(format=kind.name, src_color_range=levels, dst_color_range=levels)
    planes = []
    for number, (plane, channels) in enumerate(zip(decoded.planes, kind.channels, strict=False)):
        columns, rows = kind.plane_size(number, display.columns, display.rows)
        sample = kind.dtype.itemsize
        shape, strides = (rows, columns), (plane.line_size, sample * channels)
        if channels > 1:
            shape, strides = (*shape, channels), (*strides, sample)
        offset = 0 if plane.line_size >= 0 else -plane.line_size * (rows - 1)
        stored = kind.dtype.newbyteorder(">") if swapped else kind.dtype
        array = np.ndarray(shape, stored, buffer=memoryview(plane), offset=offset, strides=strides)
        if swapped or (sys.byteorder == "big" and sample > 1):
            array = array.astype(kind.dtype)
        array.flags.writeable = False
        planes.append(array)
    span = decoded.duration * decoded.time_base if decoded.duration and decoded.time_base else None
    return Frame(index, time, kind.name, tuple(planes), footage.color, display, footage.siting, span)
