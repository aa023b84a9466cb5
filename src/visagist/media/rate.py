"""How fast numbered pictures follow one another, which they do not say themselves.

- `FrameRate`: the type of a setting; `parse_rate`: what it takes
- `note_reading`: says how fast image sequences are read, and which folders hold photos
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator
from pydantic_core import PydanticCustomError

from visagist.core.events import EventCallback, Note
from visagist.media.footage import Footage

DEFAULT_RATE = Fraction(25)
_BROADCAST = tuple(Fraction(whole * 1000, 1001) for whole in (24, 30, 48, 60, 120, 240))
_FINEST = 1_000_000  # of a rate's numerator and denominator, which become clocks of files


def parse_rate(value: object) -> Fraction:
    """Frames a second, from 1 to 240, as a whole number, a decimal or the text of a fraction.

    Decimals that round an NTSC rate to two or three places are meant as that rate, so that the times are exact.

    Raises:
        ValueError: it is none of these.

    >>> [str(parse_rate(rate)) for rate in ("24", 23.976, "29.97", "30000/1001", 12.5)]
    ['24', '24000/1001', '30000/1001', '30000/1001', '25/2']
    """
    try:
        rate = Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    rate = next((exact for exact in _BROADCAST if abs(rate - exact) < Fraction(5, 1000)), rate)
    if not 1 <= rate <= 240 or max(rate.numerator, rate.denominator) > _FINEST:
        raise PydanticCustomError(
            "rate",
            "'{given}' is no frame rate; give 1 to 240 frames a second, such as 24, 23.976 or 30000/1001",
            {"given": str(value)},
        )
    return rate


FrameRate = Annotated[Fraction, PlainValidator(parse_rate), PlainSerializer(str, return_type=str)]
"""A setting: frames a second, written as `24` or `24000/1001`."""


def note_reading(clips: Sequence[Footage], step: str, events: EventCallback) -> None:
    """Say how fast image sequences are read, for each rate once, and which numbered pictures are read as photos."""
    for rate in sorted({clip.rate for clip in clips if clip.kind == "sequence" and clip.rate is not None}):
        remedy = "; --rate says otherwise" if rate == DEFAULT_RATE else ""
        events(Note(step, f"image sequence: read at {rate} frames/s{remedy}"))
    for clip in clips:
        if clip.reason is not None:
            text = f"{clip.path}: {len(clip.files)} photos, each a shot of its own ({clip.reason})"
            events(Note(step, f"{text}; a pattern such as shot_%04d.png reads them as one image sequence"))
