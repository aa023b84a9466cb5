"""Colour tags, and the conversion between code values and RGB.

RGB means non-linear R'G'B' throughout. The transfer function is only passed on as a tag, except for OpenEXR (see
`scene_linear`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from visagist.core.errors import FootageError
from visagist.media.layout import Layout

MATRICES = {
    "rgb": 0, "bt709": 1, "unknown": 2, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "ycgco": 8,
    "bt2020nc": 9, "bt2020c": 10, "smpte2085": 11, "chroma-derived-nc": 12, "chroma-derived-c": 13, "ictcp": 14,
}  # fmt: skip
PRIMARIES = {
    "bt709": 1, "unknown": 2, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9,
    "smpte428": 10, "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
TRANSFERS = {
    "bt709": 1, "unknown": 2, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8, "log100": 9,
    "log316": 10, "iec61966-2-4": 11, "bt1361e": 12, "iec61966-2-1": 13, "bt2020-10": 14, "bt2020-12": 15,
    "smpte2084": 16, "smpte428": 17, "arib-std-b67": 18,
}  # fmt: skip
_WEIGHTS = {  # kr, kb of ITU-T H.273, table 4
    "bt709": (0.2126, 0.0722), "fcc": (0.30, 0.11), "bt470bg": (0.299, 0.114), "smpte170m": (0.299, 0.114),
    "smpte240m": (0.212, 0.087), "bt2020nc": (0.2627, 0.0593), "bt2020c": (0.2627, 0.0593),
}  # fmt: skip


@dataclass(frozen=True)
class Color:
    """The colour tags of footage, with FFmpeg's names."""

    matrix: str
    range: Literal["tv", "pc"]
    primaries: str = "unknown"
    transfer: str = "unknown"
    assumed: bool = False  # the file declares no matrix; this one is a guess
    chromaticities: tuple[float, ...] | None = None  # xy of R, G, B and white, if OpenEXR declares other than BT.709

    @property
    def matrix_tag(self) -> int:
        """The matrix tag to write to a file: as declared by the footage, never the guess."""
        return MATRICES["unknown" if self.assumed else self.matrix]


def declared_color(kind: Layout, height: int, tags: tuple[int, int, int, int], *, full_name: bool) -> Color:
    """The colour of a decoded frame.

    Like FFmpeg, this assumes BT.709 from 720 lines up and BT.601 below if the matrix is undeclared, and `tv` for YUV
    and `pc` for gray and RGB if the range is.

    Args:
        kind: layout of the pixel format.
        height: display height in px.
        tags: FFmpeg's numbers for matrix, range, primaries and transfer.
        full_name: the pixel format's name implies full range (yuvj420p).

    Raises:
        FootageError: the matrix is not supported.
    """
    matrix_tag, range_tag, primaries_tag, transfer_tag = tags
    names = {number: name for name, number in MATRICES.items()}
    matrix = names.get(matrix_tag, "unknown")
    if kind.family == "rgb":
        matrix = "rgb"
    elif matrix in ("unknown", "rgb"):
        matrix = "unknown"
    elif matrix not in _WEIGHTS:
        raise FootageError(f"colour matrix '{matrix}' is not supported; convert the footage to BT.709 or BT.2020")
    assumed = matrix == "unknown"
    if assumed:
        matrix = "bt709" if height >= 720 else "smpte170m"
    full = full_name or range_tag == 2 or (range_tag != 1 and kind.family != "yuv")
    primaries = {number: name for name, number in PRIMARIES.items()}.get(primaries_tag, "unknown")
    transfer = {number: name for name, number in TRANSFERS.items()}.get(transfer_tag, "unknown")
    return Color(matrix, "pc" if full else "tv", primaries, transfer, assumed)


def _scales(kind: Layout, color: Color) -> tuple[np.ndarray, np.ndarray]:
    """Offset and span of each component in stored words; chroma spans [-0.5, 0.5]."""
    count = len(kind.places)
    unit = 1 << (kind.depth - 8)
    if color.range == "tv":
        offset, span = np.full(count, 16.0 * unit), np.full(count, 219.0 * unit)
        if kind.family == "yuv":
            offset[1:], span[1:] = 128.0 * unit, 224.0 * unit
    else:
        offset, span = np.zeros(count), np.full(count, (1 << kind.depth) - 1.0)
        if kind.family == "yuv":
            offset[1:] = 1 << (kind.depth - 1)
    return offset * (1 << kind.shift), span * (1 << kind.shift)


def _rgb_from_yuv(matrix: str) -> np.ndarray:
    """`(3, 3)`: R'G'B' from Y' in [0, 1] and Cb, Cr in [-0.5, 0.5]."""
    kr, kb = _WEIGHTS[matrix]
    kg = 1 - kr - kb
    return np.array([
        [1, 0, 2 * (1 - kr)],
        [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
        [1, 2 * (1 - kb), 0],
    ])  # fmt: skip


def to_rgb(kind: Layout, color: Color) -> np.ndarray:
    """The affine map from stored words to RGB.

    Returns:
        `(3, C + 1)`, C components: `rgb = M[:, :C] @ words + M[:, C]`, RGB in [0, 1].

    >>> from visagist.media.layout import layout
    >>> white = np.array([940, 512, 512, 1])
    >>> (to_rgb(layout("yuv420p10le"), Color("bt709", "tv")) @ white).round(6)
    array([1., 1., 1.])
    """
    offset, span = _scales(kind, color)
    if kind.family == "yuv":
        base = _rgb_from_yuv(color.matrix)
    else:
        base = np.eye(3) if kind.family == "rgb" else np.ones((3, 1))
    linear = base / span
    return np.column_stack([linear, -linear @ offset])


def from_rgb_change(kind: Layout, color: Color) -> np.ndarray:
    """The linear map from a change of RGB to the change of the stored words.

    Returns:
        `(C, 3)`, C components; for gray, the luma of the change.
    """
    _, span = _scales(kind, color)
    if kind.family == "rgb":
        return np.eye(3) * span
    luma_matrix = color.matrix if color.matrix in _WEIGHTS else "bt709"
    inverse = np.linalg.inv(_rgb_from_yuv(luma_matrix))
    return inverse[: len(kind.places)] * span[:, None]


def legal_codes(kind: Layout, color: Color, component: int) -> tuple[int, int]:
    """Lowest and highest stored word of a component.

    >>> from visagist.media.layout import layout
    >>> legal_codes(layout("yuv420p"), Color("bt709", "tv"), 0), legal_codes(layout("yuv420p"), Color("bt709", "tv"), 1)
    ((16, 235), (16, 240))
    """
    if color.range == "pc":
        return 0, ((1 << kind.depth) - 1) << kind.shift
    unit = 1 << (kind.depth - 8 + kind.shift)
    return 16 * unit, (240 if kind.family == "yuv" and component else 235) * unit
