"""Display geometry: from stored samples to upright pictures with square pixels.

Pixel centres are at integers, as in OpenCV.
"""

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

UPRIGHT = (1, 0, 0, 1)


class Region(NamedTuple):
    """A half-open rectangle of display pixels: `x0 <= x < x1`."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Width in px."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Height in px."""
        return self.y1 - self.y0


@dataclass(frozen=True)
class Display:
    """How a stored picture of `columns` x `rows` samples is displayed.

    `turn` is the linear part (a, b, c, d) of the display matrix, one of the eight rotations and reflections of a
    rectangle: (x, y) is displayed at (a x + b y, c x + d y), plus the translation that keeps coordinates positive.
    """

    columns: int
    rows: int
    aspect: Fraction = Fraction(1)  # width / height of a sample
    turn: tuple[int, int, int, int] = UPRIGHT

    @functools.cached_property
    def _square(self) -> tuple[int, int]:
        """Size with square pixels before rotation; samples are only ever enlarged, so that no detail is lost."""
        if self.aspect >= 1:
            return round(self.columns * self.aspect), self.rows
        return self.columns, round(self.rows / self.aspect)

    @property
    def size(self) -> tuple[int, int]:
        """Display width and height in px."""
        width, height = self._square
        return (height, width) if self.turn[0] == 0 else (width, height)

    @property
    def is_stretched(self) -> bool:
        """Whether the pixel aspect changes the size."""
        return self._square != (self.columns, self.rows)

    @property
    def rotation(self) -> int:
        """Clockwise rotation for display, ignoring reflections: 0, 90, 180 or 270 degrees."""
        return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[self.turn[0], self.turn[2]]

    @functools.cached_property
    def from_stored(self) -> np.ndarray:
        """`(3, 3)` matrix from stored px to display px."""
        width, height = self._square
        sx, sy = width / self.columns, height / self.rows
        stretch = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
        a, b, c, d = self.turn
        corner = np.array([[a, b], [c, d]]) @ np.array([width - 1, height - 1])
        turn = np.array([[a, b, max(0, -corner[0])], [c, d, max(0, -corner[1])], [0, 0, 1.0]])
        return turn @ stretch

    def stored_region(self, region: Region) -> Region:
        """The smallest rectangle of stored samples that contains `region`, clipped to the picture."""
        corners = np.array([[region.x0 - 0.5, region.y0 - 0.5, 1], [region.x1 - 0.5, region.y1 - 0.5, 1]])
        x, y, _ = np.linalg.inv(self.from_stored) @ corners.T + 0.5
        return Region(
            max(0, int(np.floor(x.min() + 1e-6))), max(0, int(np.floor(y.min() + 1e-6))),
            min(self.columns, int(np.ceil(x.max() - 1e-6))), min(self.rows, int(np.ceil(y.max() - 1e-6))),
        )  # fmt: skip

    def shown_region(self, stored: Region) -> Region:
        """The smallest rectangle of display pixels that contains the stored one, clipped to the picture."""
        corners = np.array([[stored.x0 - 0.5, stored.y0 - 0.5, 1], [stored.x1 - 0.5, stored.y1 - 0.5, 1]])
        x, y, _ = self.from_stored @ corners.T + 0.5
        width, height = self.size
        return Region(
            max(0, int(np.floor(x.min() + 1e-6))), max(0, int(np.floor(y.min() + 1e-6))),
            min(width, int(np.ceil(x.max() - 1e-6))), min(height, int(np.ceil(y.max() - 1e-6))),
        )  # fmt: skip

    def turn_upright(self, stored: np.ndarray) -> np.ndarray:
        """View of a stored array `(h, w, ...)` in display orientation."""
        a, b, c, d = self.turn
        if a == 0:
            stored = np.swapaxes(stored, 0, 1)
            return stored[:: c or 1, :: b or 1]
        return stored[:: d or 1, :: a or 1]

    def turn_back(self, shown: np.ndarray) -> np.ndarray:
        """View of a displayed array in stored orientation, the inverse of `turn_upright`."""
        a, b, c, d = self.turn
        if a == 0:
            return np.swapaxes(shown[:: c or 1, :: b or 1], 0, 1)
        return shown[:: d or 1, :: a or 1]
