"""Frame rates of image sequences, which do not state their own."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator
from pydantic_core import PydanticCustomError

from visagist.core.events import EventCallback, Note
from visagist.media.footage import Footage

DEFAULT_RATE = Fraction(25)
_NTSC_RATES = tuple(Fraction(whole * 1000, 1001) for whole in (24, 30, 48, 60, 120, 240))
_MAX_TERM = 1_000_000  # of numerator and denominator, which become time bases


def parse_rate(value: object) -> Fraction:
    """Parse a frame rate between 1 and 240: an integer, a decimal or a fraction.

    Decimals within 0.005 of an NTSC rate become that exact rate.

    Raises:
        ValueError: it is not a frame rate in this range.

    >>> [str(parse_rate(rate)) for rate in ("24", 23.976, "29.97", "30000/1001", 12.5)]
    ['24', '24000/1001', '30000/1001', '30000/1001', '25/2']
    """
    try:
        rate = Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    rate = next((exact for exact in _NTSC_RATES if abs(rate - exact) < Fraction(5, 1000)), rate)
    if not 1 <= rate <= 240 or max(rate.numerator, rate.denominator) > _MAX_TERM:
        raise PydanticCustomError(
            "rate",
            "'{given}' is not a frame rate; use 1 to 240 frames per second, such as 24, 23.976 or 30000/1001",
            {"given": str(value)},
        )
    return rate


FrameRate = Annotated[Fraction, PlainValidator(parse_rate), PlainSerializer(str, return_type=str)]
"""Type of a setting: frames per second, written as `24` or `24000/1001`."""


def note_reading(clips: Sequence[Footage], step: str, events: EventCallback) -> None:
    """Emit a note for each rate of image sequences, and for numbered pictures that are treated as photos."""
    for rate in sorted({clip.rate for clip in clips if clip.kind == "sequence" and clip.rate is not None}):
        remedy = "; change it with --rate" if rate == DEFAULT_RATE else ""
        events(Note(step, f"image sequence: read at {rate} frames/s{remedy}"))
    for clip in clips:
        if clip.reason is not None:
            text = f"{clip.path}: {len(clip.files)} separate photos ({clip.reason})"
            events(Note(step, f"{text}; pass a pattern such as shot_%04d.png to read them as an image sequence"))
