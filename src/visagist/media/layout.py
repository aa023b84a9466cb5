"""Sample layouts of FFmpeg's pixel formats.

Read natively: gray, planar and semi-planar YUV, packed and planar RGB of 8 to 16 bits, with or without alpha, and the
half and float formats of `exr`. Other formats are converted on reading. Big-endian samples are swapped on reading, so
that only little-endian names occur here.
"""

import functools
import re
from dataclasses import dataclass
from typing import Literal

import av
import numpy as np

_CHROMA = {"410": (2, 2), "411": (2, 0), "420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}
_SEMI_PLANAR = {
    "nv12": ("420", 8, False), "nv21": ("420", 8, True), "nv16": ("422", 8, False), "nv24": ("444", 8, False),
    "nv42": ("444", 8, True), "p010le": ("420", 10, False), "p012le": ("420", 12, False),
    "p016le": ("420", 16, False), "p210le": ("422", 10, False), "p212le": ("422", 12, False),
    "p216le": ("422", 16, False), "p410le": ("444", 10, False), "p412le": ("444", 12, False),
    "p416le": ("444", 16, False),
}  # fmt: skip
_PACKED = {
    "rgb24": ("rgb", 8), "bgr24": ("bgr", 8), "rgba": ("rgba", 8), "bgra": ("bgra", 8), "argb": ("argb", 8),
    "abgr": ("abgr", 8), "rgb0": ("rgb0", 8), "bgr0": ("bgr0", 8), "0rgb": ("0rgb", 8), "0bgr": ("0bgr", 8),
    "rgb48le": ("rgb", 16), "bgr48le": ("bgr", 16), "rgba64le": ("rgba", 16), "bgra64le": ("bgra", 16),
    "ya8": ("ya", 8), "ya16le": ("ya", 16),
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Sample layout of a pixel format."""

    name: str
    family: Literal["gray", "yuv", "rgb"]
    depth: int  # significant bits per sample
    shift: int  # zero bits below them (p010le stores 10 bits at the top of 16)
    chroma: tuple[int, int]  # log2 of chroma subsampling in x and y
    places: tuple[tuple[int, int], ...]  # (plane, channel) of Y Cb Cr, R G B, or gray
    channels: tuple[int, ...]  # channels of each plane
    alpha: bool
    is_float: bool = False  # scene-linear half or float samples, in native byte order

    @property
    def dtype(self) -> np.dtype:
        """NumPy type of a sample."""
        if self.is_float:
            return np.dtype(np.float16 if self.depth == 16 else np.float32)
        return np.dtype(np.uint8 if self.depth + self.shift <= 8 else np.uint16)

    @property
    def display_referred(self) -> str:
        """Name of the display-referred format: 16-bit for float formats, else unchanged."""
        if not self.is_float:
            return self.name
        return {1: "gray16le", 3: "gbrp16le", 4: "gbrap16le"}[len(self.channels)]

    def is_chroma(self, plane: int) -> bool:
        """Whether a plane holds chroma samples."""
        return self.family == "yuv" and any(place == plane for place, _ in self.places[1:])

    def plane_size(self, plane: int, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of a plane, for a picture of `width` x `height`."""
        across, down = self.chroma if self.is_chroma(plane) else (0, 0)
        return -(-width >> across), -(-height >> down)


@functools.cache
def layout(name: str) -> Layout | None:
    """The layout of an FFmpeg pixel format, None if frames must be converted first.

    >>> layout("yuv422p10le").depth, layout("yuv422p10le").chroma
    (10, (1, 0))
    >>> layout("pal8") is None
    True
    """
    if match := re.fullmatch(r"gray(?:(9|10|12|14|16)le)?", name):
        return Layout(name, "gray", int(match[1] or 8), 0, (0, 0), ((0, 0),), (1,), alpha=False)
    if match := re.fullmatch(r"(gray|gbrp|gbrap)f(16|32)le", name):
        family = "gray" if match[1] == "gray" else "rgb"
        places = ((0, 0),) if family == "gray" else ((2, 0), (0, 0), (1, 0))
        channels = (1,) * {"gray": 1, "gbrp": 3, "gbrap": 4}[match[1]]
        return Layout(name, family, int(match[2]), 0, (0, 0), places, channels, len(channels) == 4, is_float=True)
    if match := re.fullmatch(r"yuv[j]?(a?)(4[1-4][0-4])p(?:(9|10|12|14|16)le)?", name):
        if match[2] not in _CHROMA:
            return None
        alpha = bool(match[1])
        places, channels = ((0, 0), (1, 0), (2, 0)), (1,) * (4 if alpha else 3)
        return Layout(name, "yuv", int(match[3] or 8), 0, _CHROMA[match[2]], places, channels, alpha)
    if match := re.fullmatch(r"gbr(a?)p(?:(9|10|12|14|16)le)?", name):
        alpha = bool(match[1])
        places, channels = ((2, 0), (0, 0), (1, 0)), (1,) * (4 if alpha else 3)
        return Layout(name, "rgb", int(match[2] or 8), 0, (0, 0), places, channels, alpha)
    if name in _SEMI_PLANAR:
        grid, depth, swapped = _SEMI_PLANAR[name]
        places = ((0, 0), (1, 1), (1, 0)) if swapped else ((0, 0), (1, 0), (1, 1))
        return Layout(name, "yuv", depth, 0 if depth == 8 else 16 - depth, _CHROMA[grid], places, (1, 2), alpha=False)
    if name in _PACKED:
        order, depth = _PACKED[name]
        family = "gray" if "y" in order else "rgb"
        places = tuple((0, order.index(letter)) for letter in ("y" if family == "gray" else "rgb"))
        return Layout(name, family, depth, 0, (0, 0), places, (len(order),), "a" in order)
    return None


def nearest_layout(name: str) -> Layout:
    """The native layout to convert a pixel format to: same chroma grid, equal or greater depth up to 16 bits.

    >>> nearest_layout("pal8").name, nearest_layout("yuyv422").name, nearest_layout("x2rgb10le").name
    ('rgba', 'yuv422p', 'gbrp10le')
    """
    little = re.sub(r"be$", "le", name)
    if (native := layout(little)) and not native.is_float:
        return native
    described = av.VideoFormat(name, 64, 64)
    if described.has_palette:
        chosen = "rgba"
    else:
        parts = described.components
        bits = max(part.bits for part in parts)
        depth = next((depth for depth in (8, 9, 10, 12, 14, 16) if depth >= bits), 16)
        alpha = "a" if any(part.is_alpha for part in parts) else ""
        if len(parts) <= 2:
            chosen = ("ya16le" if depth > 8 else "ya8") if alpha else f"gray{'' if depth == 8 else f'{depth}le'}"
        elif described.is_rgb or described.is_bayer or name.startswith("xyz"):
            depth = {9: 10, 14: 16}.get(depth, depth)
            chosen = f"gbr{alpha}p{'' if depth == 8 else f'{depth}le'}"
        else:
            grid = (64 // described.chroma_width(64), 64 // described.chroma_height(64))
            names = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (4, 1): "411", (4, 4): "410", (1, 2): "440"}
            depth = {14: 16}.get(depth, depth) if alpha else depth
            chosen = f"yuv{alpha}{names.get(grid, '444')}p{'' if depth == 8 else f'{depth}le'}"
    found = layout(chosen)
    assert found is not None, chosen
    return found
