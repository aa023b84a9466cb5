"""Curves over time as SVG, in the colour-blind safe palette of Okabe and Ito, with dashes for greyscale prints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from visagist.evaluation.formatting import number

WIDTH, HEIGHT = 700, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 146, 16, 24  # px, margins; the right one holds the names of the lines
MAX_SPANS = 2  # by how many spans of render and aim a baseline may extend the scale
BEYOND = 40  # px beyond the scale at which lines are clipped
LABEL_HEIGHT = 13  # px


@dataclass(frozen=True, eq=False)
class Line:
    """A named curve over the frames: `(N,)`, NaN where not measured."""

    name: str
    values: NDArray[np.float64]


def curve_svg(
    title: str,
    frames: NDArray[np.int64],
    follows: NDArray[np.bool_],
    times: NDArray[np.float64],
    lines: Sequence[Line],
    aims: Sequence[float],
    aim_name: str,
    worst: int | None,
) -> Markup:
    """Curves over time, as one self-contained `<svg>` element.

    Args:
        title: title for screen readers.
        frames: `(N,)` frame indices, increasing; a larger step than usual breaks the lines.
        follows: `(N,)` whether the previous entry is the previous frame of the same shot; a new shot breaks the lines.
        times: `(N,)` s.
        lines: the render's first, then the baselines'.
        aims: values marked by horizontal lines.
        aim_name: label of the last aim.
        worst: frame to mark as the worst of the first line, with a link to its picture, `#frame-12`.
    """
    start, end = float(times[0]), float(times[-1])
    low, high = value_range([line.values for line in lines], aims)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        return LEFT + (seconds - start) / max(end - start, 1e-9) * (right - LEFT)

    def down(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return bottom - (values - low) / (high - low) * (bottom - TOP)

    parts = [
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} over time" '
        f'data-time="{start!r} {end!r}" data-value="{low!r} {high!r}" '
        f'data-box="{LEFT} {TOP} {right} {bottom} {BEYOND}">'
    ]
    x = across(times)
    for gap_start, gap_end in _gaps(frames, x):
        parts.append(f'<path class="gap" d="M{gap_start:.1f} {TOP}H{gap_end:.1f}V{bottom}H{gap_start:.1f}Z"/>')
    ticks, places = nice_ticks(low, high, 4)
    for tick, y in zip(ticks, down(np.array(ticks)), strict=True):
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 3.5:.1f}">{number(tick, places)}</text>')
    ticks, places = nice_ticks(start, end, 6)
    for tick, at in zip(ticks, across(np.array(ticks)), strict=True):
        parts.append(f'<path class="axis" d="M{at:.1f} {bottom}v4"/>')
        unit = " s" if tick == ticks[-1] else ""
        parts.append(f'<text class="tick mid" x="{at:.1f}" y="{bottom + 16}">{number(tick, places)}{unit}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
    for y in down(np.array(aims, np.float64)):
        parts.append(f'<path class="aim" d="M{LEFT} {y:.1f}H{right}"/>')
    names: list[tuple[float, str, str]] = [(y, "aim", aim_name) for y in down(np.array(aims[-1:], np.float64))]
    box = f"{LEFT} {TOP} {right - LEFT} {bottom - TOP}"
    parts.append(
        f'<svg x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" viewBox="{box}">'  # clips the lines
    )
    for i in reversed(range(len(lines))):  # the render last, above the others
        y = np.clip(down(lines[i].values), TOP - BEYOND, bottom + BEYOND)
        kind = f"line-{min(i, 3)}"
        path = "".join(_path(x, y, part) for part in stretches(frames, follows, lines[i].values))
        if path:
            parts.append(f'<path class="line {kind}" d="{path}"/>')
            names.append((float(y[np.isfinite(y)][-1]), kind, lines[i].name + _beyond(lines[i].values, low, high)))
    parts.append("</svg>")
    for y, kind, name in _spread(names, TOP + 4, bottom):
        parts.append(f'<text class="name {kind}" x="{right + 8}" y="{y + 3.5:.1f}">{escape(name)}</text>')
    for at, y in zip(x[frames == worst], down(lines[0].values[frames == worst]), strict=True):
        mark = f'<circle class="worst" cx="{at:.1f}" cy="{y:.1f}" r="4.5"><title>worst: frame {worst}</title></circle>'
        parts.append(f'<a href="#frame-{worst}">{mark}</a>')
    parts.append("</svg>")
    return Markup("".join(parts))  # all text was escaped above


def stretches(frames: NDArray[np.int64], follows: NDArray[np.bool_], values: NDArray[np.float64]) -> list[slice]:
    """Slices of `values` without a break: without NaN, a larger step of `frames` than usual, or a new shot.

    >>> frames, follows = np.array([0, 1, 2, 8, 9]), np.array([False, True, True, False, True])
    >>> stretches(frames, follows, np.array([1.0, 1.0, np.nan, 1.0, 1.0]))
    [slice(0, 2, None), slice(3, 5, None)]
    """
    is_known = np.isfinite(values)
    step = np.diff(frames, prepend=frames[:1] - _step(frames))
    is_new = (step > 1.5 * _step(frames)) | ((step == 1) & ~follows)
    starts = is_known & (is_new | ~np.concatenate([[False], is_known[:-1]]))
    ends = is_known & np.concatenate([is_new[1:] | ~is_known[1:], [True]])
    pairs = zip(np.flatnonzero(starts).tolist(), np.flatnonzero(ends).tolist(), strict=True)
    return [slice(start, end + 1) for start, end in pairs]


def value_range(curves: Sequence[NDArray[np.float64]], aims: Sequence[float]) -> tuple[float, float]:
    """Range of the scale: covers the render and the aims, and the baselines as far as they do not flatten the curves.

    >>> low, high = value_range([np.array([1.0, 2.0]), np.array([50.0])], [1.5])
    >>> low < 1 < 2 < high < 5
    True
    """
    first, *others = ([float(v) for v in curve[np.isfinite(curve)]] for curve in curves)
    needed = [*first, *aims]
    if not needed:
        needed = [v for other in others for v in other] or [0.0, 1.0]
    low, high = min(needed), max(needed)
    span = max(high - low, 0.1 * max(abs(low), abs(high)), 1e-9)
    for other in others:
        if other:
            under, over = (float(v) for v in np.quantile(other, [0.02, 0.98]))
            low = min(low, max(under, min(needed) - MAX_SPANS * span))
            high = max(high, min(over, max(needed) + MAX_SPANS * span))
    pad = 0.06 * max(high - low, span)
    return low - pad, high + pad


def nice_ticks(low: float, high: float, count: int) -> tuple[list[float], int]:
    """About `count` round values between `low` and `high`, and their number of decimals.

    >>> nice_ticks(0.0, 1.0, 4)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 1)
    >>> nice_ticks(5.0, 5.0, 4)
    ([5.0], 1)
    """
    if high <= low:
        return [low], 1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((step * power for step in (1, 2, 5) if step * power >= 0.75 * rough), 10 * power)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, places) for i in range(first, last + 1)], places


def _step(frames: NDArray[np.int64]) -> float:
    return float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0


def _gaps(frames: NDArray[np.int64], x: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Ranges without evaluated frames, in px."""
    after = np.flatnonzero(np.diff(frames) > 1.5 * _step(frames))
    return [(float(x[i]), float(x[i + 1])) for i in after]


def _path(x: NDArray[np.float64], y: NDArray[np.float64], part: slice) -> str:
    """An SVG path; where points are denser than pixels, only the minimum and maximum of each pixel are kept."""
    across, down = x[part], y[part]
    bins = max(1, math.ceil(float(across[-1] - across[0])))
    if len(across) > 4 * bins:
        edges = np.linspace(0, len(across), bins + 1).astype(int)
        kept = sorted({int(a + pick(down[a:b])) for a, b in pairwise(edges) for pick in (np.argmin, np.argmax)})
        across, down = across[kept], down[kept]
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(across, down, strict=True)]
    return f"M{points[0]}h0" if len(points) == 1 else "M" + "L".join(points)


def _beyond(values: NDArray[np.float64], low: float, high: float) -> str:
    middle = float(np.median(values[np.isfinite(values)]))
    return " ↑" if middle > high else " ↓" if middle < low else ""


def _spread(names: Sequence[tuple[float, str, str]], top: float, bottom: float) -> list[tuple[float, str, str]]:
    """Labels moved apart so that none overlap, as close to their lines as possible."""
    placed: list[tuple[float, str, str]] = []
    for y, kind, name in sorted(names):
        placed.append((max(y, top if not placed else placed[-1][0] + LABEL_HEIGHT), kind, name))
    limit = bottom
    for i in reversed(range(len(placed))):
        y, kind, name = placed[i]
        placed[i] = (min(y, limit), kind, name)
        limit = placed[i][0] - LABEL_HEIGHT
    return placed
