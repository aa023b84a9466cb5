"""Matching of the render's frames to the target's, and checks that the match is right.

Frames match by presentation time, or by number if either is an image sequence. An excerpt whose timestamps start at
zero, or a render that lost its first frame, would match the wrong frames; the movement of head, eyelids and lips, which
a swap preserves, reveals that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metrics.expression import EYE_MOVES, MOUTH_MOVES, eye_openness, mouth_openness
from visagist.evaluation.result import Flag
from visagist.faces import Face
from visagist.media import Footage, Frame, Reader

TIME_TOLERANCE_S = Fraction(2, 1000)  # containers with millisecond timestamps round by half of one
MIN_MATCHED = 0.5  # of the frames of the shorter footage
# PSNR outside the face. Unrelated pictures have 6 to 12 dB, different people in front of the same wall 15.
MIN_SAME_SCENE_DB = 18.0
MIN_UNCHANGED_SCENE_DB = 25.0
MIN_LAG_FRAMES = 12  # overlapping frames needed to detect a lag
MIN_LAG_CORRELATION = 0.6
MAX_UNEXPLAINED = 0.5  # of 1 - r without the lag, which the lag may leave
MIN_HEAD_MOVES = 0.01  # standard deviation over the distance of the outer eye corners; below, the head is still


@dataclass
class FrameMatching:
    """Alignment of target and render in time; the counts are filled while `pairs` is iterated."""

    target: Footage
    render: Footage
    offset: Fraction = Fraction(0)  # s, added to the render's timestamps
    matched: int = 0
    target_only: list[int] = field(default_factory=list)  # indices of the target's frames without a match
    render_only: int = 0

    def pairs(self, target: Iterable[Frame], render: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
        """Every frame of the target with the matching frame of the render, or None; both in order."""
        rate = sequence_rate(self.target, self.render)
        offset = self.offset if rate is None else Fraction(round(self.offset * rate))

        def place(frame: Frame) -> Fraction:
            return frame.time if rate is None else Fraction(frame.index)

        coming = iter(render)
        ahead = next(coming, None)
        for frame in target:
            here = place(frame)
            while ahead is not None and place(ahead) + offset < here - TIME_TOLERANCE_S:
                self.render_only += 1
                ahead = next(coming, None)
            if ahead is not None and place(ahead) + offset <= here + TIME_TOLERANCE_S:
                self.matched += 1
                yield frame, ahead
                ahead = next(coming, None)
            else:
                self.target_only.append(frame.index)
                yield frame, None
        if ahead is not None:
            self.render_only += 1 + sum(1 for _ in coming)

    def check(self) -> None:
        """Raise `EvaluationError` if fewer than half of the frames of the shorter footage matched."""
        shorter = self.matched + min(len(self.target_only), self.render_only)
        if self.matched == 0 or self.matched < MIN_MATCHED * shorter:
            raise EvaluationError(
                f"{self.render.path}: {self.matched} of its {self.matched + self.render_only} frames "
                f"({_rate(self.render)}, from {float(self.render.start + self.offset):.3f} s) match a frame of "
                f"{self.target.path} ({self.matched + len(self.target_only)} frames, {_rate(self.target)}, from "
                f"{float(self.target.start):.3f} s) in time; give the render at the target's frame rate, and --offset "
                "SECONDS if it starts later"
            )


def sequence_rate(target: Footage, render: Footage) -> Fraction | None:
    """Frame rate that converts an offset to a number of frames; None if frames match by time."""
    return (target.rate or render.rate) if "sequence" in (target.kind, render.kind) else None


def excerpt_offset(target: Footage, render: Footage, first: int, *, deinterlace: bool, seek: bool) -> Fraction:
    """Offset in s of a render that starts at the target's frame `first`."""
    if first == 0:
        return Fraction(0)
    if rate := sequence_rate(target, render):
        return first / rate
    with Reader(target, first=first, last=first, deinterlace=deinterlace, seek=seek) as reader:
        return next(iter(reader)).time - render.start


def check_same_scene(matching: FrameMatching, outside: NDArray[np.float64]) -> None:
    """Refuse a render that shows a different scene than the target.

    Args:
        matching: target and render.
        outside: `(N,)` PSNR in dB outside the face, by frame; NaN where the face fills the picture.

    Raises:
        EvaluationError: the median is below `MIN_SAME_SCENE_DB`.
    """
    median = _median(outside)
    if median < MIN_SAME_SCENE_DB:
        raise EvaluationError(
            f"{matching.render.path}: not a render of {matching.target.path} at these times (PSNR outside the face "
            f"{median:.1f} dB, at least {MIN_SAME_SCENE_DB:g} expected); give the target that was changed, and "
            "--offset SECONDS if the render starts later"
        )


def mismatch_flags(
    matching: FrameMatching, data: EvaluationData, faces: list[Face], outside: NDArray[np.float64]
) -> list[Flag]:
    """Flag a render that probably matches other frames of the target, or whose whole picture was changed.

    Args:
        matching: target and render.
        data: the matched frames.
        faces: the performer's faces in the whole target, in frame order.
        outside: as in `check_same_scene`.
    """
    flags: list[Flag] = []
    late = lag(data, faces)
    if late:
        step = float(np.median(np.diff([float(face.time) for face in faces])))
        flags.append(
            Flag(
                f"head, eyelids and lips move like the target's {abs(late)} frame{'s' * (abs(late) > 1)} "
                f"{'later' if late > 0 else 'earlier'}: the render probably belongs there, and all values are wrong; "
                f"try --offset {float(matching.offset) + late * step:.3f}"
            )
        )
    median = _median(outside)
    if median < MIN_UNCHANGED_SCENE_DB:
        flags.append(
            Flag(
                f"outside the face, render and target differ (PSNR {median:.1f} dB): the render was graded or strongly "
                "compressed, or shows another moment; comparisons with the target are unreliable"
            )
        )
    return flags


def lag(data: EvaluationData, faces: list[Face]) -> int:
    """Number of frames by which the render is ahead of the matched target frames; usually 0.

    Correlates the position of the head and the openness of eyelids and lips between render and target at every shift.
    A shift is accepted if it explains at least half of what the current match leaves unexplained.

    Args:
        data: the matched frames.
        faces: the performer's faces in the whole target.
    """
    first = min(face.frame for face in faces)
    target = np.full((max(face.frame for face in faces) - first + 1, 4), np.nan)
    target[[face.frame - first for face in faces]] = _movement(np.stack([face.landmarks for face in faces]))
    render = np.full_like(target, np.nan)
    render[data.frames - first] = _movement(data.evaluated.landmarks)
    min_moves = np.array([MIN_HEAD_MOVES * float(np.nanmedian(data.eye_distances))] * 2 + [EYE_MOVES, MOUTH_MOVES])
    found = {shift: _correlation(render, target, shift, min_moves) for shift in range(1 - len(target), len(target))}
    best = max(found, key=lambda shift: (found[shift], -abs(shift)))
    explains = found[best] >= MIN_LAG_CORRELATION and 1 - found[best] < MAX_UNEXPLAINED * (1 - found[0])
    return best if explains and np.isfinite(found[0]) else 0


def _movement(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(N, 4)` of landmarks `(N, 478, 3)`: centre x and y in frame px, openness of eyelids and of lips."""
    centre = landmarks[:, :, :2].mean(1, dtype=np.float64)
    return np.column_stack([centre, eye_openness(landmarks).mean(1), mouth_openness(landmarks)])


def _correlation(
    render: NDArray[np.float64], target: NDArray[np.float64], shift: int, min_moves: NDArray[np.float64]
) -> float:
    """Mean Pearson's r over the curves that move in the target; -inf if too few frames overlap."""
    count = len(target) - abs(shift)
    a, b = render[max(0, -shift) :][:count], target[max(0, shift) :][:count]
    both = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    if both.sum() < max(MIN_LAG_FRAMES, np.isfinite(render[:, 0]).sum() / 2):
        return -np.inf
    a, b = a[both] - a[both].mean(0), b[both] - b[both].mean(0)
    is_moving = (b.std(0) >= min_moves) & (a.std(0) > 0)
    if not is_moving.any():
        return -np.inf
    return float(((a * b).mean(0)[is_moving] / (a.std(0) * b.std(0))[is_moving]).mean())


def _rate(footage: Footage) -> str:
    return "unknown rate" if footage.rate is None else f"{float(footage.rate):.5g} frames/s"


def _median(outside: NDArray[np.float64]) -> float:
    """Median without NaN; inf if the face fills every frame."""
    known = outside[~np.isnan(outside)]
    return float(np.median(known)) if known.size else np.inf
