"""Formatting of numbers for the terminal and the report."""

import math
from collections.abc import Sequence

from visagist.evaluation.metric import Figure

DASH = "–"


def missing(figure: Figure | None) -> str:
    """Why a value is missing.

    >>> missing(Figure(math.nan, math.nan, math.nan, math.nan, 0))
    'no frame could be measured'
    """
    if figure is None:
        return "not measured here"
    if figure.count == 0:
        return "no frame could be measured"
    if figure.count == 1:
        return "one frame only"
    return f"undefined over these {figure.count} frames"


def decimals(values: Sequence[float]) -> int:
    """Decimals that show three significant digits of the first value that is finite and not 0.

    >>> decimals([math.nan, 0.0, 1.234]), decimals([41.2]), decimals([0.00123])
    (2, 1, 4)
    """
    size = next((abs(value) for value in values if math.isfinite(value) and value != 0), 1.0)
    return min(4, max(0, 2 - math.floor(math.log10(size))))


def number(value: float, places: int) -> str:
    """A number with a dash for NaN, a typographic minus, and an exact zero without decimals.

    >>> number(-0.5, 2), number(0.0, 2), number(math.nan, 2), number(math.inf, 2)
    ('−0.50', '0', '–', '∞')
    """
    if math.isnan(value):
        return DASH
    if value == 0:
        return "0"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def quantity(value: float, unit: str) -> str:
    """A value with three significant digits and its unit.

    >>> quantity(2.934, "°"), quantity(31.23, "dB"), quantity(0.5, "")
    ('2.93°', '31.2 dB', '0.500')
    """
    return number(value, decimals([value])) + (unit if unit == "°" else f" {unit}" if unit else "")


def interval(figure: Figure, places: int, between: str) -> str:
    """The confidence interval; empty if unknown."""
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return ""
    return f"{number(figure.low, places)} {between} {number(figure.high, places)}"


def share_text(share: float) -> str:
    """A share in percent; never rounded up to 100 %.

    >>> share_text(0.9999), share_text(1.0), share_text(0.5), share_text(math.nan)
    ('99.9 %', '100 %', '50.0 %', '–')
    """
    if math.isnan(share):
        return DASH
    return "100 %" if share >= 1 else f"{min(99.9, 100 * share):.1f} %"
