"""Expression: whether the evaluated face moves like the target's.

Differences per frame cannot distinguish an expressive face from a nearly static blur, which is off by little in every
frame, so movement over time is measured as well.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.evaluation.metrics.pose import as_complex, stable_fit

IRISES = 468  # index of the first iris point of the mesh
# Right and left eye: outer and inner corner, two pairs of upper and lower point, iris
EYES = ((33, 133, ((160, 144), (158, 153)), 468), (263, 362, ((387, 373), (385, 380)), 473))
MOUTH = (78, 308, ((82, 87), (13, 14), (312, 317)))  # inner lips
MIN_OPEN = 0.15  # aspect ratio of an eye whose iris is visible; open eyes at rest have 0.25 to 0.3
# Standard deviations over time below which a curve counts as still: about 4 times the noise on faces of 155 px
BLENDSHAPE_MOVES, EYE_MOVES, MOUTH_MOVES = 0.02, 0.01, 0.02
STILL = 1e-6  # standard deviation of a curve without any movement

MESH = "visagist, on MediaPipe's face mesh and blendshapes"


def blendshape_error(data: EvaluationData) -> NDArray[np.float64]:
    """Mean absolute difference `(N,)` of the 51 blendshapes other than `_neutral`, 0 to 1."""
    difference = data.evaluated.blendshapes[:, 1:].astype(np.float64) - data.target.blendshapes[:, 1:]
    return np.abs(difference).mean(1)


def landmark_error(data: EvaluationData) -> NDArray[np.float64]:
    """Mean distance `(N,)` of the mesh's 468 points (without irises), in % of the distance of the outer eye corners.

    Measured after `stable_fit`, because a fit to all points would spread an open mouth over the whole face.
    """
    evaluated, target = (as_complex(seen.landmarks[:, :IRISES]) for seen in (data.evaluated, data.target))
    turn, shift = stable_fit(data)
    distances = np.abs(turn[:, None] * evaluated + shift[:, None] - target)  # (N, 468) frame px
    return 100 * distances.mean(1) / data.eye_distances


def eye_openness(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Eye aspect ratio `(N, 2)` of right and left eye: 0 if shut, 0.25 to 0.3 at rest.

    Soukupova and Cech 2016, "Real-time eye blink detection using facial landmarks".
    """
    return np.stack([_openness(landmarks, outer, inner, pairs) for outer, inner, pairs, _ in EYES], axis=1)


def mouth_openness(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mouth aspect ratio `(N,)` of the inner lips: 0 if shut, about 0.3 in speech, up to 1 and more."""
    return _openness(landmarks, *MOUTH)


def iris_places(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Iris positions `(N, 2, 2)` in eye widths: along the line from outer (0) to inner (1) corner, and below it."""
    points = as_complex(landmarks)
    places: list[NDArray[np.float64]] = []
    for side, (outer, inner, _, iris) in zip((1, -1), EYES, strict=True):
        across = points[:, inner] - points[:, outer]
        # A complex quotient rotates and scales in one step. The left eye runs the other way, so its "below" is negated.
        place = (points[:, iris] - points[:, outer]) * across.conj() * (1 / np.abs(across) ** 2)
        places.append(np.stack([place.real, side * place.imag], axis=1))
    return np.stack(places, axis=1)


def gaze(data: EvaluationData) -> NDArray[np.float64]:
    """Mean absolute difference `(N,)` of iris positions in % of the eye's width, over eyes open in both."""
    evaluated, target = data.evaluated.landmarks, data.target.landmarks
    is_open = (eye_openness(evaluated) >= MIN_OPEN) & (eye_openness(target) >= MIN_OPEN)  # (N, 2)
    difference = np.abs(iris_places(evaluated) - iris_places(target)).mean(2)  # (N, 2)
    count = is_open.sum(1)
    total = np.where(is_open, difference, 0).sum(1)
    return np.where(count > 0, 100 * total / np.maximum(count, 1), np.nan)


def paired(data: EvaluationData, curves: Callable[[FaceObservations], NDArray[np.floating]]) -> NDArray[np.float64]:
    """`(N, 2K)`: K curves of the evaluated face, then the target's; NaN in frames where either face was not found."""
    pairs = np.hstack([curves(seen).astype(np.float64) for seen in (data.evaluated, data.target)])
    pairs[~np.isfinite(pairs).all(1)] = np.nan
    return pairs


def correlation(pairs: NDArray[np.float64], min_moves: float) -> float:
    """Mean Pearson's r between evaluated and target curves, over the curves that move in the target.

    Args:
        pairs: `(M, 2K)` K curves of the evaluated face, then the target's.
        min_moves: minimum standard deviation of a curve that moves.

    Returns:
        -1 to 1; 0 if the evaluated face does not move while the target does; NaN if the target does not move.

    >>> moves, still = np.array([0.0, 1.0, 0.0, 1.0]), np.zeros(4)
    >>> round(correlation(np.column_stack([0.5 * moves, still, moves, still]), 0.1), 3)
    1.0
    >>> correlation(np.column_stack([still, moves]), 0.1)
    0.0
    """
    evaluated, target = _moving(pairs, min_moves)
    if evaluated.shape[1] == 0:
        return np.nan
    deviation = evaluated.std(0)
    products = (evaluated * target).mean(0) / (np.maximum(deviation, STILL) * target.std(0))
    return float(np.where(deviation > STILL, products, 0).mean())


def amplitude(pairs: NDArray[np.float64], min_moves: float) -> float:
    """Regression slope of evaluated against target curves; NaN if the target does not move.

    >>> moves = np.array([0.0, 1.0, 0.0, 1.0])
    >>> amplitude(np.column_stack([0.5 * moves, moves]), 0.1)
    0.5
    """
    evaluated, target = _moving(pairs, min_moves)
    if evaluated.shape[1] == 0:
        return np.nan
    return float((evaluated * target).sum() / (target**2).sum())


def _moving(pairs: NDArray[np.float64], min_moves: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean-centred evaluated and target curves `(M, k)` that move in the target."""
    centred = pairs - pairs.mean(0)
    evaluated, target = np.split(centred, 2, axis=1)
    moves = target.std(0) >= min_moves
    return evaluated[:, moves], target[:, moves]


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
        formula="Pearson's r over time between the evaluated and the target's curve of each blendshape, averaged over "
        f"those that move in the target (standard deviation of {BLENDSHAPE_MOVES} or more)",
        source=MESH,
        fooled_by="scale and offset: half an expression correlates as well as a full one (see the amplitude). The "
        "unswapped target has 1. Short or nearly motionless clips are inconclusive: see the interval.",
        aim=0.7,  # an exact swap of two synthetic people has 0.78
        measure=_blendshapes,
        combine=partial(correlation, min_moves=BLENDSHAPE_MOVES),
    ),
    _metric(
        name="expression_amplitude",
        title="Expression, amplitude",
        unit="",
        better="one",
        formula="slope of the regression of the evaluated on the target's mean-centred blendshapes, over those that "
        "move in the target: 1 full movement, 0.5 half of it, 0 a frozen face",
        source=MESH,
        fooled_by="the largest movements, mostly those of the mouth, dominate; an exaggerated mouth can make up for "
        "frozen brows. A face that moves late or at random loses here too.",
        aim=1.25,  # an exact swap has 0.85
        measure=_blendshapes,
        combine=partial(amplitude, min_moves=BLENDSHAPE_MOVES),
    ),
    _metric(
        name="expression_blendshapes",
        title="Expression, blendshape error",
        unit="",
        better="lower",
        formula="mean |evaluated - target| of the 51 blendshapes (0..1) other than _neutral",
        source=MESH,
        fooled_by="a static, blurred, average face, which is off by little in every frame. Read it beside how well the "
        "expression follows. The unswapped target has 0.",
        measure=blendshape_error,
    ),
    _metric(
        name="expression_landmarks",
        title="Landmark error",
        unit="%",
        better="lower",
        formula="Procrustes: the evaluated face is aligned with the target's by the least-squares similarity of the "
        "points that hardly move with expression; then the mean distance of the mesh's 468 points / distance between "
        "the target's outer eye corners",
        source="normalised mean error as in face alignment (Sagonas et al. 2013, 300-W); " + MESH,
        fooled_by="blur, because the detector finds a plausible face in anything; the source's own proportions, which "
        "rightly differ from the target's. The unswapped target has 0. Shift, size and roll do not count here (see "
        "placement).",
        measure=landmark_error,
        aim=3.0,
    ),
    _metric(
        name="expression_eyes",
        title="Lids follow",
        unit="",
        better="higher",
        formula="Pearson's r over time between the eye aspect ratios (mean of both eyes) of the evaluated and the "
        f"target's face; not measured if the target's standard deviation is below {EYE_MOVES}",
        source="eye aspect ratio of Soukupova and Cech 2016",
        fooled_by="scale and offset: half-shut lids that follow have 1. In footage without a blink, it compares small "
        "movements with noise.",
        measure=partial(paired, curves=lambda seen: eye_openness(seen.landmarks).mean(1)[:, None]),
        combine=partial(correlation, min_moves=EYE_MOVES),
    ),
    _metric(
        name="expression_mouth",
        title="Lips follow",
        unit="",
        better="higher",
        formula="Pearson's r over time between the mouth aspect ratios (inner lips, three heights over the width) of "
        f"the evaluated and the target's face; not measured if the target's standard deviation is below {MOUTH_MOVES}",
        source="analogous to the eye aspect ratio",
        fooled_by="scale and offset: lips that open half as far have 1. Teeth and tongue do not count.",
        measure=partial(paired, curves=lambda seen: mouth_openness(seen.landmarks)[:, None]),
        combine=partial(correlation, min_moves=MOUTH_MOVES),
    ),
    _metric(
        name="gaze",
        title="Gaze, iris offset",
        unit="%",
        better="lower",
        formula="mean |evaluated - target| of the iris's position along and below the line between the eye's corners / "
        f"width of the eye, over the eyes that are open in both (aspect ratio of {MIN_OPEN} or more)",
        source=MESH,
        fooled_by="eyes of a different shape: the source's irises rest elsewhere between the corners. In blurred eyes, "
        "the detector puts the irises in the middle. Eyes shut by mistake do not count here (see the lids). The "
        "unswapped target has 0.",
        measure=gaze,
    ),
)
METRICS.register(FAMILY, __name__)
