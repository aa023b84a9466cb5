"""Which frame of the render shows which frame of the target, and whether it really does.

Frames match by presentation time, or by number if either is an image sequence. Time alone misses an excerpt whose clock
begins at zero, or a render that lost its first frame: every figure would be wrong. The movement of head, lids and lips
reveals these, because it is the target's whoever's face is shown.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metrics.expression import EYE_MOVES, MOUTH_MOVES, eye_openness, mouth_openness
from visagist.evaluation.result import Flag
from visagist.faces import Face
from visagist.media import Footage, Frame, Reader

TIME_TOLERANCE_S = Fraction(2, 1000)  # containers with a clock of milliseconds round by half of one
MIN_MATCHED = 0.5  # of the frames of the shorter footage
# PSNR outside the face. Unrelated pictures have 6 to 12 dB, other people in front of the same wall 15.
MIN_SAME_SCENE_DB = 18.0
MIN_UNCHANGED_SCENE_DB = 25.0
MIN_LAG_FRAMES = 12  # in which a lag must be seen
MIN_LAG_CORRELATION = 0.6
MAX_UNEXPLAINED = 0.5  # by the lag, of what the present match leaves unexplained
MIN_HEAD_MOVES = 0.01  # deviation over the distance between the eyes' outer corners; below, the head is still


@dataclass
class FrameMatching:
    """How target and render lie beside each other; the counts are filled while `pairs` is iterated."""

    target: Footage
    render: Footage
    offset: Fraction = Fraction(0)  # s, added to the render's times
    matched: int = 0
    target_only: list[int] = field(default_factory=list)  # indices of the target's frames without a match
    render_only: int = 0

    def pairs(self, target: Iterable[Frame], render: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
        """Every frame of the target with the render's frame of the same time, or None; both in order."""
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
        """Refuse a match that says nothing.

        Raises:
            EvaluationError: fewer than half of the frames of the shorter footage matched.
        """
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
    """Frames per second that turn an offset into a number of frames; None if frames match by time."""
    return (target.rate or render.rate) if "sequence" in (target.kind, render.kind) else None


def excerpt_offset(target: Footage, render: Footage, first: int, *, deinterlace: bool, seek: bool) -> Fraction:
    """The offset in s of a render that begins at the target's frame `first`."""
    if first == 0:
        return Fraction(0)
    if rate := sequence_rate(target, render):
        return first / rate
    with Reader(target, first=first, last=first, deinterlace=deinterlace, seek=seek) as reader:
        return next(iter(reader)).time - render.start


def check_same_scene(matching: FrameMatching, outside: NDArray[np.float64]) -> None:
    """Refuse a render whose picture outside the face has nothing to do with the target's.

    Args:
        matching: of target and render.
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


def doubts(matching: FrameMatching, case: Case, faces: list[Face], outside: NDArray[np.float64]) -> list[Flag]:
    """Flags for a render that probably belongs elsewhere in the target, or whose whole picture was changed.

    Args:
        matching: of target and render.
        case: the matched frames, with the render judged.
        faces: the performer's in the whole target, in frame order.
        outside: as in `check_same_scene`.
    """
    flags: list[Flag] = []
    late = lag(case, faces)
    if late:
        step = float(np.median(np.diff([float(face.time) for face in faces])))
        flags.append(
            Flag(
                f"head, lids and lips move as those of the target {abs(late)} frame{'s' * (abs(late) > 1)} "
                f"{'later' if late > 0 else 'earlier'}: the render probably belongs there, and all figures are wrong; "
                f"try --offset {float(matching.offset) + late * step:.3f}"
            )
        )
    median = _median(outside)
    if median < MIN_UNCHANGED_SCENE_DB:
        flags.append(
            Flag(
                f"outside the face, render and target differ (PSNR {median:.1f} dB): graded, strongly compressed, or "
                "another moment; comparisons with the target are unreliable"
            )
        )
    return flags


def lag(case: Case, faces: list[Face]) -> int:
    """By how many frames of the target the render is ahead of the frames it is matched with; mostly 0.

    The head's place and the openness of lids and lips are correlated between render and target at every shift. A shift
    counts if it explains half of what the present match leaves unexplained.

    Args:
        case: the matched frames.
        faces: the performer's in the whole target.
    """
    first = min(face.frame for face in faces)
    target = np.full((max(face.frame for face in faces) - first + 1, 4), np.nan)
    target[[face.frame - first for face in faces]] = _movement(np.stack([face.landmarks for face in faces]))
    render = np.full_like(target, np.nan)
    render[case.frames - first] = _movement(case.judged.landmarks)
    min_moves = np.array([MIN_HEAD_MOVES * float(np.nanmedian(case.eye_distances))] * 2 + [EYE_MOVES, MOUTH_MOVES])
    found = {shift: _correlation(render, target, shift, min_moves) for shift in range(1 - len(target), len(target))}
    best = max(found, key=lambda shift: (found[shift], -abs(shift)))
    explains = found[best] >= MIN_LAG_CORRELATION and 1 - found[best] < MAX_UNEXPLAINED * (1 - found[0])
    return best if explains and np.isfinite(found[0]) else 0


def _movement(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(N, 4)` of `(N, 478, 3)`: centre x and y in frame px, openness of lids and of lips."""
    centre = landmarks[:, :, :2].mean(1, dtype=np.float64)
    return np.column_stack([centre, eye_openness(landmarks).mean(1), mouth_openness(landmarks)])


def _correlation(
    render: NDArray[np.float64], target: NDArray[np.float64], shift: int, min_moves: NDArray[np.float64]
) -> float:
    """Mean Pearson's r over what moves in the target; -inf if too few frames overlap."""
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
    """Infinite if the face fills every frame."""
    known = outside[~np.isnan(outside)]
    return float(np.median(known)) if known.size else np.inf
