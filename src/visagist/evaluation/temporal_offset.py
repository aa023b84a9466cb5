"""Whether the render shows what the target shows at the same time: what pairing by time alone cannot know.

- `check_same_scene`: refuses a render of other footage
- `misplaced`: flags a render that is likely to lie elsewhere in the target, or whose picture was changed as a whole
- `lag`: by how many frames

An excerpt whose clock begins at zero, or a render that lost its first frame, pairs perfectly by time, and every figure
of it would be wrong. The movement tells: it is the same in both, whoever's face it is.
"""

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metrics.expression import EYE_MOVES, MOUTH_MOVES, eye_openness, mouth_openness
from visagist.evaluation.result import Flag
from visagist.faces import Face
from visagist.media import Footage

OTHER, CHANGED = 18.0, 25.0  # dB outside the face: below, another scene; below, a scene that was changed as a whole
LEAST = 12  # frames that a lag must be seen in
CLEAR = 0.6  # correlation that a shift must have
UNEXPLAINED = 0.5  # part of what the present pairing leaves unexplained, that it may leave
STEADY = 0.01  # of the distance of the eyes' outer corners, deviation: a head that moves less is still


def check_same_scene(target: Footage, render: Footage, outside: NDArray[np.float64]) -> None:
    """Refuse a render whose picture outside the face has nothing to do with the target's.

    Args:
        target: what was changed.
        render: what is judged.
        outside: `(N,)` PSNR in dB outside the face, by frame; NaN where the face fills the picture.

    Raises:
        EvaluationError: it is below 18 dB in the median. Unrelated pictures have 6 to 12, other people before the
            same wall 15.
    """
    median = _median(outside)
    if median < OTHER:
        raise EvaluationError(
            f"{render.path}: is no render of {target.path} at these times: outside the face they are alike to "
            f"{median:.1f} dB only; give the target that was changed, and --offset SECONDS if the render starts later"
        )


def misplaced(case: Case, faces: list[Face], outside: NDArray[np.float64]) -> list[Flag]:
    """What speaks against the pairing, or for a change of the whole picture.

    Args:
        case: the frames that were paired, with the render judged.
        faces: the performer's in the whole target, in frame order.
        outside: as in `check_same_scene`.
    """
    flags: list[Flag] = []
    late = lag(case, faces)
    if late:
        step = float(np.median(np.diff([float(face.time) for face in faces])))
        flags.append(
            Flag(
                f"head, lids and lips move as the target's do {_frames(late)} {'later' if late > 0 else 'earlier'}: "
                f"the render is likely to lie elsewhere, and these figures to be wrong; try --offset {late * step:.3f} "
                "more"
            )
        )
    median = _median(outside)
    if median < CHANGED:
        flags.append(
            Flag(
                f"outside the face the render is like the target to {median:.1f} dB only: graded, or encoded coarsely, "
                "or of another moment; every comparison with the target suffers"
            )
        )
    return flags


def lag(case: Case, faces: list[Face]) -> int:
    """By how many frames of the target the render is ahead of the frames that it is paired with; mostly 0.

    Where the head is in the picture, and how far lids and lips are open, go up and down in the render as in the target,
    whoever's face it has. The two are correlated at every shift; one counts that explains half of what the present
    pairing leaves unexplained.

    Args:
        case: the frames that were paired.
        faces: the performer's in the whole target.
    """
    first = min(face.frame for face in faces)
    moves = np.full((max(face.frame for face in faces) - first + 1, 4), np.nan)
    moves[[face.frame - first for face in faces]] = _moves(np.stack([face.landmarks for face in faces]))
    seen = np.full_like(moves, np.nan)
    seen[case.frames - first] = _moves(case.judged.landmarks)
    least = np.array([STEADY * float(np.nanmedian(case.eye_distances))] * 2 + [EYE_MOVES, MOUTH_MOVES])
    alike = {shift: _alike(seen, moves, shift, least) for shift in range(1 - len(moves), len(moves))}
    best = max(alike, key=lambda shift: (alike[shift], -abs(shift)))
    is_better = alike[best] >= CLEAR and 1 - alike[best] < UNEXPLAINED * (1 - alike[0])
    return best if is_better and np.isfinite(alike[0]) else 0


def _moves(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(N, 4)` of `(N, 478, 3)`: centre x, centre y in frame px, openness of lids and of lips."""
    centre = landmarks[:, :, :2].mean(1, dtype=np.float64)
    return np.column_stack([centre, eye_openness(landmarks).mean(1), mouth_openness(landmarks)])


def _alike(seen: NDArray[np.float64], moves: NDArray[np.float64], shift: int, least: NDArray[np.float64]) -> float:
    """Mean Pearson's r, over what moves in the target by at least that deviation; -inf where too few frames meet."""
    count = len(moves) - abs(shift)
    render, target = seen[max(0, -shift) :][:count], moves[max(0, shift) :][:count]
    both = np.isfinite(render).all(1) & np.isfinite(target).all(1)
    if both.sum() < max(LEAST, np.isfinite(seen[:, 0]).sum() / 2):
        return -np.inf
    render, target = render[both], target[both]
    render, target = render - render.mean(0), target - target.mean(0)
    is_moving = (target.std(0) >= least) & (render.std(0) > 0)
    if not is_moving.any():
        return -np.inf
    r = (render * target).mean(0)[is_moving] / (render.std(0) * target.std(0))[is_moving]
    return float(r.mean())


def _frames(count: int) -> str:
    return "1 frame" if abs(count) == 1 else f"{abs(count)} frames"


def _median(outside: NDArray[np.float64]) -> float:
    """Of the frames that have a surrounding; infinite where none has."""
    known = outside[~np.isnan(outside)]
    return float(np.median(known)) if known.size else np.inf
