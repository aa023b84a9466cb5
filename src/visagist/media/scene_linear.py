"""Scene-linear samples and their display-referred rendition, which detection and networks see.

The rendition is sRGB at exposure 0: BT.709 primaries, linear values clipped to [0, 1], then the sRGB curve.
"""

import functools

import numpy as np
from numpy.typing import NDArray

REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # xy of red, green, blue and white
LARGEST_HALF = 65504.0

Chromaticities = tuple[float, ...]


def to_display_referred(linear: NDArray[np.floating], chromaticities: Chromaticities | None) -> NDArray[np.uint16]:
    """The display-referred rendition as 16-bit codes, of the same shape.

    Args:
        linear: scene-linear, `(h, w, 3)` RGB or any shape for gray, half or float.
        chromaticities: of RGB, as in `rec709_matrix`; None for BT.709 and gray.
    """
    if chromaticities is not None:
        linear = _finite(linear) @ rec709_matrix(chromaticities).T.astype(np.float32)
    with np.errstate(over="ignore"):  # overflows to infinity, which is clipped
        halves = np.ascontiguousarray(linear, dtype=np.float16)
    return _codes_of_halves()[halves.view(np.uint16)]


def add_difference(
    linear: NDArray[np.floating], change: NDArray[np.float32], chromaticities: Chromaticities | None
) -> NDArray[np.float32]:
    """Apply a difference in the display-referred rendition to scene-linear RGB.

    Values in [0, 1] follow the difference. What the rendition clips is scaled: the part of a highlight above 1 is
    multiplied by the new linear value, so that 4.0 stays 4.0 if the new face is white there and becomes 2.0 if it is
    0.5. The part of a value below 0 is multiplied by 1 minus the new value.

    Args:
        linear: `(h, w, 3)` scene-linear.
        change: `(h, w, 3)` difference to add to the rendition, in [-1, 1].
        chromaticities: of `linear`, as in `rec709_matrix`; None for BT.709.

    Returns:
        `(h, w, 3)` scene-linear, with the primaries of `linear`.
    """
    matrix = np.eye(3) if chromaticities is None else rec709_matrix(chromaticities)
    scene = _finite(linear) @ matrix.T.astype(np.float32)
    new = _decoded(np.clip(_encoded(np.clip(scene, 0, 1)) + change, 0, 1))
    result = new + np.maximum(scene - 1, 0) * new + np.minimum(scene, 0) * (1 - new)
    return (result @ np.linalg.inv(matrix).T.astype(np.float32)).astype(np.float32)


@functools.cache
def rec709_matrix(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """`(3, 3)` matrix from linear RGB with the given primaries to BT.709, with Bradford adaptation of the white point.

    Args:
        chromaticities: xy of red, green, blue and white.

    >>> np.allclose(rec709_matrix(REC709), np.eye(3))
    True
    """
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    given, wanted = (_xyz_of_white(white[6:]) for white in (chromaticities, REC709))
    cones = (bradford @ wanted) / (bradford @ given)
    adapted = np.linalg.inv(bradford) @ np.diag(cones) @ bradford
    return np.linalg.inv(_xyz_of_rgb(REC709)) @ adapted @ _xyz_of_rgb(chromaticities)


def _xyz_of_white(white: Chromaticities) -> NDArray[np.float64]:
    x, y = white
    return np.array([x / y, 1, (1 - x - y) / y])


def _xyz_of_rgb(chromaticities: Chromaticities) -> NDArray[np.float64]:
    points = zip(chromaticities[0:6:2], chromaticities[1:6:2], strict=True)
    columns = np.array([[x, y, 1 - x - y] for x, y in points], np.float64).T
    return columns * np.linalg.solve(columns, _xyz_of_white(chromaticities[6:]))


def _finite(linear: NDArray[np.floating]) -> NDArray[np.float32]:
    """Replace NaN by 0 and clip to the range of half floats."""
    values = np.nan_to_num(linear.astype(np.float32), nan=0, posinf=LARGEST_HALF, neginf=-LARGEST_HALF)
    return np.clip(values, -LARGEST_HALF, LARGEST_HALF)


def _encoded(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """The sRGB transfer function (IEC 61966-2-1) for values in [0, 1]."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def _decoded(encoded: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4)


@functools.cache
def _codes_of_halves() -> NDArray[np.uint16]:
    """`(65536,)` lookup table from half floats to 16-bit codes, 20 times as fast as the formula."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    values = np.clip(np.nan_to_num(halves, nan=0, posinf=1, neginf=0), 0, 1)
    return np.rint(_encoded(values) * 65535).astype(np.uint16)
