"""Converting `Frame` to PyAV frames in the encoder's pixel format."""

import sys
from dataclasses import replace

import numpy as np
from av.video.frame import VideoFrame

from visagist.media.color import MATRICES
from visagist.media.display import Display
from visagist.media.frame import Frame
from visagist.media.layout import Layout, layout
from visagist.media.options import Encoding

_SWS_EXACT = 0x4 | 0x40000 | 0x4000 | 0x2000  # bicubic, accurate_rnd, full_chroma_inp, full_chroma_int


def video_frame(frame: Frame, encoding: Encoding) -> VideoFrame:
    """The frame in the encoder's pixel format, without timestamps; bit-exact wherever the format allows."""
    frame = frame.display_referred
    kind = frame.layout
    little = (
        encoding.pixel_format.replace("be", "le") if encoding.pixel_format.endswith("be") else encoding.pixel_format
    )
    wanted = layout(little)
    assert wanted is not None, little
    if encoding.upright:
        return _picture(frame, wanted, encoding.pixel_format)
    same_grid = kind.chroma == wanted.chroma or kind.family == "gray"
    same_codes = kind.depth == wanted.depth and frame.color.range == encoding.color.range
    is_yuv = kind.family in ("gray", "yuv") and wanted.family == "yuv"
    if is_yuv and same_grid and same_codes and (kind.alpha or not wanted.alpha):
        made = VideoFrame(frame.display.columns, frame.display.rows, wanted.name)
        _copy_components(frame, made, kind, wanted)
        return made
    source = VideoFrame(frame.display.columns, frame.display.rows, kind.name)
    for number, plane in enumerate(frame.planes):
        _samples(source, number, kind)[...] = plane
    levels = {"tv": 1, "pc": 2}
    return source.reformat(
        format=wanted.name,
        src_colorspace=_sws_matrix(frame.color.matrix),
        dst_colorspace=_sws_matrix(encoding.color.matrix),
        src_color_range=levels[frame.color.range],
        dst_color_range=levels[encoding.color.range],
        interpolation=_SWS_EXACT,
    )


def _sws_matrix(matrix: str) -> int:
    """swscale's number for a matrix (as in H.273); RGB has none, so use BT.709."""
    return MATRICES["bt709" if matrix == "rgb" else matrix]


def _samples(made: VideoFrame, number: int, kind: Layout, *, big: bool = False) -> np.ndarray:
    """A writable view of one plane."""
    plane = made.planes[number]
    columns, rows = kind.plane_size(number, made.width, made.height)
    size, channels = kind.dtype.itemsize, kind.channels[number]
    shape, strides = (rows, columns), (plane.line_size, size * channels)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, size)
    order = ">" if big and size > 1 else "<" if sys.byteorder == "big" else "="
    return np.ndarray(shape, kind.dtype.newbyteorder(order), buffer=memoryview(plane), strides=strides)


def _copy_components(frame: Frame, made: VideoFrame, kind: Layout, wanted: Layout) -> None:
    """Copy Y, Cb, Cr and alpha between plane arrangements; gray gets neutral chroma."""
    for component, (number, channel) in enumerate(wanted.places):
        target = _samples(made, number, wanted)
        target = target if target.ndim == 2 else target[:, :, channel]
        if component >= len(kind.places):
            target[...] = 1 << (wanted.depth - 1)
            continue
        source_number, source_channel = kind.places[component]
        source = frame.planes[source_number]
        source = source if source.ndim == 2 else source[:, :, source_channel]
        target[...] = source >> kind.shift if kind.shift else source
    if wanted.alpha:
        _samples(made, 3, wanted)[...] = _alpha(frame, kind)


def _picture(frame: Frame, wanted: Layout, name: str) -> VideoFrame:
    """An upright RGB or gray picture at stored resolution."""
    kind = frame.layout
    top = (1 << wanted.depth) - 1
    parts = np.empty((frame.display.rows, frame.display.columns, wanted.channels[0]), wanted.dtype)
    if kind.family == wanted.family and kind.depth == wanted.depth:
        for (_, to), (number, channel) in zip(wanted.places, kind.places, strict=True):
            plane = frame.planes[number]
            parts[:, :, to] = plane if plane.ndim == 2 else plane[:, :, channel]
    else:
        flat = replace(frame, display=Display(frame.display.columns, frame.display.rows)).rgb()
        words = np.rint(flat * top).astype(wanted.dtype)
        for component, (_, to) in enumerate(wanted.places):
            parts[:, :, to] = words[:, :, component]
    if wanted.alpha:
        alpha = _alpha(frame, kind)
        scaled = alpha if kind.depth == wanted.depth else np.rint(alpha * (top / ((1 << kind.depth) - 1)))
        used = {to for _, to in wanted.places}
        parts[:, :, next(c for c in range(wanted.channels[0]) if c not in used)] = scaled
    upright = frame.display.turn_upright(parts)
    made = VideoFrame(upright.shape[1], upright.shape[0], name)
    _samples(made, 0, wanted, big=name.endswith("be"))[...] = upright if upright.shape[2] > 1 else upright[:, :, 0]
    return made


def _alpha(frame: Frame, kind: Layout) -> np.ndarray:
    used = set(kind.places)
    for number, channels in enumerate(kind.channels):
        for channel in range(channels):
            if (number, channel) not in used:
                plane = frame.planes[number]
                return plane if plane.ndim == 2 else plane[:, :, channel]
    raise AssertionError(kind.name)
