"""Which frame of the render shows which frame of the target.

- `pair_frames`: by presentation time; by number where one of the two is an image sequence
- `number_rate`: whether it is by number, and what an offset in seconds is then
- `Pairing`: what came of it, and whether it can be judged
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from visagist.core.errors import EvaluationError
from visagist.media import Footage, Frame

TOLERANCE = Fraction(2, 1000)  # s; containers with a clock of milliseconds round by half of one
LEAST = 0.5  # part of the shorter one's frames that must find their partner


@dataclass
class Pairing:
    """Counts of a pairing, filled while `pair_frames` runs."""

    rate: Fraction | None  # as `number_rate` has it
    offset: Fraction = Fraction(0)  # s, added to the render's times
    paired: int = 0
    alone_in_target: list[int] = field(default_factory=list)  # indices of target frames without a partner
    alone_in_render: int = 0

    def check(self, target: Footage, render: Footage) -> None:
        """Refuse a pairing that says nothing.

        Raises:
            EvaluationError: fewer than half of the frames of the shorter one found a partner.
        """
        frames = self.paired + min(len(self.alone_in_target), self.alone_in_render)
        if self.paired == 0 or self.paired < LEAST * frames:
            raise EvaluationError(
                f"{render.path}: {self.paired} of its {self.paired + self.alone_in_render} frames ({_rate(render)}, "
                f"from {float(render.start + self.offset):.3f} s) have the time of a frame of {target.path} "
                f"({self.paired + len(self.alone_in_target)} frames, {_rate(target)}, "
                f"from {float(target.start):.3f} s); "
                "give the render at the target's own rate, and --offset SECONDS where it starts later"
            )


def number_rate(target: Footage, render: Footage) -> Fraction | None:
    """Frames a second that make a number of an offset in seconds; None where frames are paired by time."""
    return (target.rate or render.rate) if "sequence" in (target.kind, render.kind) else None


def pair_frames(
    target: Iterable[Frame], render: Iterable[Frame], pairing: Pairing
) -> Iterator[tuple[Frame, Frame | None]]:
    """Every frame of the target, in order, with the render's frame of the same time, or None.

    Args:
        target: its frames in order.
        render: the same.
        pairing: how to pair; counts are filled in.
    """
    place: Callable[[Frame, Fraction], Fraction] = _time if pairing.rate is None else _number
    offset = pairing.offset if pairing.rate is None else Fraction(round(pairing.offset * pairing.rate))
    coming = iter(render)
    ahead = next(coming, None)
    for frame in target:
        here = place(frame, Fraction(0))
        while ahead is not None and place(ahead, offset) < here - TOLERANCE:
            pairing.alone_in_render += 1
            ahead = next(coming, None)
        if ahead is not None and place(ahead, offset) <= here + TOLERANCE:
            pairing.paired += 1
            yield frame, ahead
            ahead = next(coming, None)
        else:
            pairing.alone_in_target.append(frame.index)
            yield frame, None
    while ahead is not None:
        pairing.alone_in_render += 1
        ahead = next(coming, None)


def _time(frame: Frame, offset: Fraction) -> Fraction:
    return frame.time + offset


def _number(frame: Frame, offset: Fraction) -> Fraction:
    return Fraction(frame.index) + offset


def _rate(footage: Footage) -> str:
    return "unknown rate" if footage.rate is None else f"{float(footage.rate):.5g} frames/s"
