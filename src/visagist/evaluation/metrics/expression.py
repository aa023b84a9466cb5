"""Expression: whether the judged face does what the target's does.

Differences frame by frame do not tell a face that acts from a nearly static blur, which is off by little in every
frame. Movement over time does, so it is measured as well.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Appearance, Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.evaluation.metrics.pose import as_complex, stable_fit

IRISES = 468  # first of the mesh's points on the irises
# Right and left eye: outer and inner corner, two pairs of an upper and a lower point, iris
EYES = ((33, 133, ((160, 144), (158, 153)), 468), (263, 362, ((387, 373), (385, 380)), 473))
MOUTH = (78, 308, ((82, 87), (13, 14), (312, 317)))  # inner lips
MIN_OPEN = 0.15  # aspect ratio of an eye whose iris can be seen; eyes at rest have 0.25 to 0.3
# Deviations over time below which the target hardly moves: about 4 times the detectors' noise on faces 155 px wide
BLENDSHAPE_MOVES, EYE_MOVES, MOUTH_MOVES = 0.02, 0.01, 0.02
STILL = 1e-6  # deviation of what does not move at all

MESH = "visagist, on MediaPipe's face mesh and blendshapes"


def blendshape_error(case: Case) -> NDArray[np.float64]:
    """Mean absolute difference `(N,)` of the 51 blendshapes besides `_neutral`, 0 to 1."""
    difference = case.judged.blendshapes[:, 1:].astype(np.float64) - case.target.blendshapes[:, 1:]
    return np.abs(difference).mean(1)


def landmark_error(case: Case) -> NDArray[np.float64]:
    """Mean distance `(N,)` of the mesh's 468 points without irises, in per cent of that between outer eye corners.

    After `stable_fit`: a fit to all points would spread an open mouth over the whole face.
    """
    judged, target = (as_complex(seen.landmarks[:, :IRISES]) for seen in (case.judged, case.target))
    turn, shift = stable_fit(case)
    distances = np.abs(turn[:, None] * judged + shift[:, None] - target)  # (N, 468) frame px
    return 100 * distances.mean(1) / case.eye_distances


def eye_openness(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The eye aspect ratio `(N, 2)` of the right and the left eye: 0 shut, 0.25 to 0.3 at rest.

    Soukupova and Cech 2016, "Real-time eye blink detection using facial landmarks".
    """
    return np.stack([_openness(landmarks, outer, inner, pairs) for outer, inner, pairs, _ in EYES], axis=1)


def mouth_openness(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mouth aspect ratio `(N,)` of the inner lips: 0 shut, some 0.3 in speech, up to 1 and more."""
    return _openness(landmarks, *MOUTH)


def iris_places(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places of the irises `(N, 2, 2)` in widths of the eye: from outer (0) to inner (1) corner, and below the line."""
    points = as_complex(landmarks)
    places: list[NDArray[np.float64]] = []
    for side, (outer, inner, _, iris) in zip((1, -1), EYES, strict=True):
        across = points[:, inner] - points[:, outer]
        # a complex quotient turns and scales at once; the left eye runs the other way, so its "below" changes sign
        place = (points[:, iris] - points[:, outer]) * across.conj() * (1 / np.abs(across) ** 2)
        places.append(np.stack([place.real, side * place.imag], axis=1))
    return np.stack(places, axis=1)


def gaze(case: Case) -> NDArray[np.float64]:
    """Mean absolute difference `(N,)` of the irises' places in per cent of the eyes' width, over eyes open in both."""
    judged, target = case.judged.landmarks, case.target.landmarks
    is_open = (eye_openness(judged) >= MIN_OPEN) & (eye_openness(target) >= MIN_OPEN)  # (N, 2)
    difference = np.abs(iris_places(judged) - iris_places(target)).mean(2)  # (N, 2)
    count = is_open.sum(1)
    total = np.where(is_open, difference, 0).sum(1)
    return np.where(count > 0, 100 * total / np.maximum(count, 1), np.nan)


def paired(case: Case, curves: Callable[[Appearance], NDArray[np.floating]]) -> NDArray[np.float64]:
    """`(N, 2K)`: K curves of the judged face, then of the target's; NaN in frames where either face was not found."""
    pairs = np.hstack([curves(seen).astype(np.float64) for seen in (case.judged, case.target)])
    pairs[~np.isfinite(pairs).all(1)] = np.nan
    return pairs


def correlation(pairs: NDArray[np.float64], min_moves: float) -> float:
    """Mean Pearson's r between the judged and the target's curves, over those that move in the target.

    Args:
        pairs: `(M, 2K)` the judged face's K curves, then the target's.
        min_moves: deviation from which on a curve of the target moves.

    Returns:
        -1 to 1; 0 if the judged face does not move while the target does; NaN if the target does not move.

    >>> moves, still = np.array([0.0, 1.0, 0.0, 1.0]), np.zeros(4)
    >>> round(correlation(np.column_stack([0.5 * moves, still, moves, still]), 0.1), 3)
    1.0
    >>> correlation(np.column_stack([still, moves]), 0.1)
    0.0
    """
    judged, target = _moving(pairs, min_moves)
    if judged.shape[1] == 0:
        return np.nan
    deviation = judged.std(0)
    products = (judged * target).mean(0) / (np.maximum(deviation, STILL) * target.std(0))
    return float(np.where(deviation > STILL, products, 0).mean())


def amplitude(pairs: NDArray[np.float64], min_moves: float) -> float:
    """Slope of the regression of the judged on the target's curves; NaN if the target does not move.

    >>> moves = np.array([0.0, 1.0, 0.0, 1.0])
    >>> amplitude(np.column_stack([0.5 * moves, moves]), 0.1)
    0.5
    """
    judged, target = _moving(pairs, min_moves)
    if judged.shape[1] == 0:
        return np.nan
    return float((judged * target).sum() / (target**2).sum())


def _moving(pairs: NDArray[np.float64], min_moves: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Judged and target curves `(M, k)` about their means, of those that move in the target."""
    centred = pairs - pairs.mean(0)
    judged, target = np.split(centred, 2, axis=1)
    moves = target.std(0) >= min_moves
    return judged[:, moves], target[:, moves]


def _openness(
    landmarks: NDArray[np.float32], outer: int, inner: int, pairs: tuple[tuple[int, int], ...]
) -> NDArray[np.float64]:
    """Mean height of a slit over its width, `(N,)`."""
    points = as_complex(landmarks)
    heights = np.stack([np.abs(points[:, upper] - points[:, lower]) for upper, lower in pairs])
    return heights.mean(0) / np.abs(points[:, inner] - points[:, outer])


_blendshapes = partial(paired, curves=lambda seen: seen.blendshapes[:, 1:])  # without `_neutral`
_metric = partial(Metric, order=40, has_noise_floor=True)
FAMILY = (
    _metric(
        name="expression_correlation",
        title="Expression, how well it follows",
        unit="",
        better="higher",
        formula="Pearson's r over time between the judged and the target's curve of each blendshape, mean over those "
        f"that move in the target (standard deviation from {BLENDSHAPE_MOVES})",
        source=MESH,
        fooled_by="size and offset: half an expression follows as well as a whole one (see the amplitude). The "
        "unswapped target has 1. A short or nearly motionless clip gives little to go by: mind the interval.",
        aim=0.7,  # an exact swap of two synthetic people has 0.78
        measure=_blendshapes,
        combine=partial(correlation, min_moves=BLENDSHAPE_MOVES),
    ),
    _metric(
        name="expression_amplitude",
        title="Expression, how far it goes along",
        unit="",
        better="one",
        formula="slope of the regression of the judged on the target's blendshapes about their means, over those that "
        "move in the target: 1 in full, 0.5 half as far, 0 a frozen face",
        source=MESH,
        fooled_by="the largest movements, mostly the mouth's, weigh most; an exaggerated mouth may make up for frozen "
        "brows. A face that moves late or at random loses here too.",
        aim=1.25,  # an exact swap has 0.85
        measure=_blendshapes,
        combine=partial(amplitude, min_moves=BLENDSHAPE_MOVES),
    ),
    _metric(
        name="expression_blendshapes",
        title="Expression, blendshape error",
        unit="",
        better="lower",
        formula="mean |judged - target| of the 51 blendshapes (0..1) besides _neutral",
        source=MESH,
        fooled_by="a static, blurred, average face: it is off by little in every frame. Read it beside how well the "
        "expression follows. The unswapped target has 0.",
        measure=blendshape_error,
    ),
    _metric(
        name="expression_landmarks",
        title="Landmark error",
        unit="%",
        better="lower",
        formula="Procrustes: the judged face is laid upon the target's by the least-squares similarity of the points "
        "that hardly move with expression; then the mean distance of the mesh's 468 points / distance between the "
        "target's outer eye corners",
        source="normalised mean error as in face alignment (Sagonas et al. 2013, 300-W); " + MESH,
        fooled_by="blur, since the detector draws a plausible face into anything; the source's own features, which "
        "lie elsewhere than the target's and should. The unswapped target has 0. Shift, size and roll do not count "
        "here (see placement).",
        measure=landmark_error,
        aim=3.0,
    ),
    _metric(
        name="expression_eyes",
        title="Lids follow",
        unit="",
        better="higher",
        formula="Pearson's r over time between the eye aspect ratios (mean of both eyes) of the judged and the "
        f"target's face; nothing where the target's deviates by less than {EYE_MOVES}",
        source="eye aspect ratio of Soukupova and Cech 2016",
        fooled_by="size and offset: half-shut lids that follow have 1. Without a blink in the footage it is small "
        "movement against noise.",
        measure=partial(paired, curves=lambda seen: eye_openness(seen.landmarks).mean(1)[:, None]),
        combine=partial(correlation, min_moves=EYE_MOVES),
    ),
    _metric(
        name="expression_mouth",
        title="Lips follow",
        unit="",
        better="higher",
        formula="Pearson's r over time between the mouth aspect ratios (inner lips, three heights over the width) of "
        f"the judged and the target's face; nothing where the target's deviates by less than {MOUTH_MOVES}",
        source="as the eye aspect ratio",
        fooled_by="size and offset: lips that open half as far have 1. Teeth and tongue do not count.",
        measure=partial(paired, curves=lambda seen: mouth_openness(seen.landmarks)[:, None]),
        combine=partial(correlation, min_moves=MOUTH_MOVES),
    ),
    _metric(
        name="gaze",
        title="Gaze, iris offset",
        unit="%",
        better="lower",
        formula="mean |judged - target| of the iris's place along and below the line between the eye's corners / width "
        f"of the eye, over the eyes that are open in both (aspect ratio from {MIN_OPEN})",
        source=MESH,
        fooled_by="eyes of another cut: the source's irises rest elsewhere between the corners. Where the eyes are "
        "blurred the detector puts the irises in their middle. Eyes shut by mistake do not count here (see the lids). "
        "The unswapped target has 0.",
        measure=gaze,
    ),
)
METRICS.register(FAMILY, __name__)
