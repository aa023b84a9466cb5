"""Expression on constructed faces: known offsets, known movement, and a blur that looks like a good swap per frame."""

import numpy as np
import pytest
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.evaluation.metric import Figure, evaluate_metric
from visagist.evaluation.metrics.expression import (
    FAMILY,
    blendshape_error,
    eye_openness,
    gaze,
    iris_places,
    landmark_error,
    mouth_openness,
)
from visagist.faces import mean_mesh, transform

SCALE = 60.0  # px between the pupils
COUNT = 60
METRIC = {metric.name: metric for metric in FAMILY}
WAVE = np.sin(np.arange(COUNT) / 5)  # (N,)


def face(count: int = COUNT) -> NDArray[np.float32]:
    """The mean face `(count, 478, 3)`, 60 px between the pupils."""
    mesh = mean_mesh() * SCALE + np.array([320.0, 240.0, 0.0])
    return np.repeat(mesh[None], count, axis=0).astype(np.float32)


def with_eyes(openness: NDArray[np.floating]) -> NDArray[np.float32]:
    """Faces with this eye aspect ratio `(N,)`, and irises in the middle."""
    faces = face(len(openness))
    for outer, inner, pairs, iris in (
        (33, 133, ((160, 144), (158, 153)), 468),
        (263, 362, ((387, 373), (385, 380)), 473),
    ):
        ends = faces[:, [outer, inner], :2]
        width = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        for share, (upper, lower) in zip((1 / 3, 2 / 3), pairs, strict=True):
            middle = ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
            faces[:, upper, :2] = middle - np.column_stack([0 * width, openness * width / 2])
            faces[:, lower, :2] = middle + np.column_stack([0 * width, openness * width / 2])
        faces[:, iris, :2] = ends.mean(1)
    return faces


def with_mouth(openness: NDArray[np.floating]) -> NDArray[np.float32]:
    """Faces with this aspect ratio `(N,)` of the inner lips."""
    faces = face(len(openness))
    width = np.linalg.norm(faces[:, 308, :2] - faces[:, 78, :2], axis=1)
    for upper, lower in ((82, 87), (13, 14), (312, 317)):
        faces[:, lower, 0] = faces[:, upper, 0]
        faces[:, lower, 1] = faces[:, upper, 1] + openness * width
    return faces


def appearance(
    name: str, landmarks: NDArray[np.float32], blendshapes: NDArray[np.floating] | None = None
) -> FaceObservations:
    pixels, count = np.zeros((1, 1, 1, 3), np.uint8), len(landmarks)
    unknown = {"scores": (), "poses": (3,), "independent": (128,), "sface": (128,), "outside": ()}
    rows = {key: np.full((count, *shape), np.nan, np.float32) for key, shape in unknown.items()}
    shapes = np.full((count, 52), 0.3) if blendshapes is None else blendshapes
    return FaceObservations(name, pixels, landmarks=landmarks, blendshapes=shapes.astype(np.float32), **rows)


def made(evaluated: FaceObservations, target: FaceObservations) -> EvaluationData:
    count = len(target)
    pixels, masks = np.zeros((4, 1, 1), np.uint8), np.zeros((count, 1, 1), np.uint8)
    source = Source(pixels, pixels, np.zeros((4, 478, 3)), np.zeros((4, 3)), np.eye(4, 128), np.eye(4, 128))
    return EvaluationData(
        frames=np.arange(count), times=np.arange(count) / 25, follows=np.arange(count) > 0,
        matrices=np.zeros((count, 2, 3)), masks=masks, hulls=masks, is_swapped=np.ones(count, bool),
        target=target, evaluated=evaluated, source=source, impostors=np.empty((0, 128), np.float32),
    )  # fmt: skip


def of_landmarks(evaluated: NDArray[np.float32], target: NDArray[np.float32]) -> EvaluationData:
    return made(appearance("render", evaluated), appearance("target", target))


def acting(shift: float = 0.0) -> NDArray[np.float64]:
    """Blendshapes `(N, 52)` of which ten move by 0.1 about 0.3, each with its own phase; all are shifted."""
    shapes = np.full((COUNT, 52), 0.3)
    phases = np.arange(10) * 0.7
    shapes[:, 10:20] += 0.1 * np.sin(np.arange(COUNT)[:, None] / 5 + phases)
    return shapes + shift


def of_shapes(evaluated: NDArray[np.floating], target: NDArray[np.floating]) -> EvaluationData:
    return made(appearance("render", face(), evaluated), appearance("target", face(), target))


def figure(name: str, data: EvaluationData) -> Figure:
    return evaluate_metric(METRIC[name], data)[0]


def test_a_static_blur_is_revealed_by_correlation() -> None:
    """DeepFaceLab's SAEHD after 100 iterations had the blendshape error of a good swap."""
    generator = np.random.default_rng(0)
    blur = np.broadcast_to(acting().mean(0), (COUNT, 52)) + generator.normal(0, 0.002, (COUNT, 52))
    still = of_shapes(blur, acting())
    good = of_shapes(acting(shift=float(blendshape_error(still).mean())), acting())
    assert blendshape_error(good).mean() == pytest.approx(blendshape_error(still).mean(), rel=1e-3)
    assert figure("expression_correlation", good).value == pytest.approx(1, abs=1e-3)
    assert abs(figure("expression_correlation", still).value) < 0.2
    assert figure("expression_amplitude", good).value == pytest.approx(1, abs=1e-3)
    assert abs(figure("expression_amplitude", still).value) < 0.05


def test_a_frozen_face_does_not_follow_at_all() -> None:
    frozen = of_shapes(np.full((COUNT, 52), 0.3), acting())
    assert figure("expression_correlation", frozen).value == 0
    assert figure("expression_amplitude", frozen).value == pytest.approx(0, abs=1e-6)


def test_half_an_expression_has_full_correlation_and_half_amplitude() -> None:
    half = of_shapes(0.3 + (acting() - 0.3) / 2, acting())
    assert figure("expression_correlation", half).value == pytest.approx(1, abs=1e-3)
    assert figure("expression_amplitude", half).value == pytest.approx(0.5, abs=1e-3)


def test_expression_delayed_by_half_a_period_is_anticorrelated() -> None:
    late = of_shapes(0.6 - acting(), acting())
    assert figure("expression_correlation", late).value == pytest.approx(-1, abs=1e-3)


def test_correlation_matches_numpy() -> None:
    generator = np.random.default_rng(1)
    evaluated = np.clip(acting() + generator.normal(0, 0.05, (COUNT, 52)), 0, 1).astype(np.float32)
    target = acting().astype(np.float32)
    expected = np.mean([np.corrcoef(evaluated[:, k], target[:, k])[0, 1] for k in range(10, 20)])
    assert figure("expression_correlation", of_shapes(evaluated, target)).value == pytest.approx(expected, abs=1e-5)


def test_a_still_target_has_no_correlation() -> None:
    still = acting() * 0.1
    for name in ("expression_correlation", "expression_amplitude"):
        assert np.isnan(figure(name, of_shapes(acting(), still)).value)
    eyes = with_eyes(0.28 + 0.005 * WAVE)
    assert np.isnan(figure("expression_eyes", of_landmarks(eyes, eyes)).value)


def test_blendshape_error_leaves_out_neutral() -> None:
    evaluated = acting()
    evaluated[:, 0] = 1
    evaluated[:, 1] += 0.51
    assert blendshape_error(of_shapes(evaluated, acting())) == pytest.approx(0.01, abs=1e-6)


def test_shift_size_and_roll_do_not_affect_the_landmark_error() -> None:
    turn = np.array([[1.05, 0.1, -30.0], [-0.1, 1.05, 12.0]])
    moved = face()
    moved[:, :, :2] = transform(turn, moved[:, :, :2].astype(np.float64))
    assert landmark_error(of_landmarks(moved, face())) == pytest.approx(0, abs=1e-3)


def test_landmark_error_is_relative_to_the_eye_distance() -> None:
    moved = face()
    moved[:, [0, 17, 84, 181], 1] += 6.0  # four points of the lips
    data = of_landmarks(moved, face())
    assert landmark_error(data) == pytest.approx(100 * 4 * 6 / 468 / data.eye_distances, rel=1e-3)
    moved[:, 468:] += 9.0  # irises are gaze
    assert landmark_error(of_landmarks(moved, face())) == pytest.approx(landmark_error(data))


def test_openness_is_height_over_width() -> None:
    assert eye_openness(with_eyes(np.array([0.0, 0.2, 0.3]))) == pytest.approx(
        np.array([[0, 0], [0.2, 0.2], [0.3, 0.3]]), abs=1e-5
    )
    assert mouth_openness(with_mouth(np.array([0.0, 0.4]))) == pytest.approx([0, 0.4], abs=1e-5)


def test_lids_and_lips_are_correlated_over_time() -> None:
    eyes, other = with_eyes(0.2 + 0.08 * WAVE), with_eyes(0.25 - 0.04 * WAVE)
    assert figure("expression_eyes", of_landmarks(eyes, eyes)).value == pytest.approx(1)
    assert figure("expression_eyes", of_landmarks(other, eyes)).value == pytest.approx(-1, abs=1e-4)
    assert figure("expression_eyes", of_landmarks(face(), eyes)).value == pytest.approx(0, abs=1e-6)
    mouths, wider = with_mouth(0.2 + 0.1 * WAVE), with_mouth(0.4 + 0.2 * WAVE)
    assert figure("expression_mouth", of_landmarks(wider, mouths)).value == pytest.approx(1, abs=1e-4)
    assert figure("expression_mouth", of_landmarks(face(), mouths)).value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_gaze_is_relative_to_the_eye_width(axis: int) -> None:
    target, evaluated = with_eyes(np.full(3, 0.28)), with_eyes(np.full(3, 0.28))
    for outer, inner, iris in ((33, 133, 468), (263, 362, 473)):
        width = np.linalg.norm(evaluated[:, outer, :2] - evaluated[:, inner, :2], axis=1)
        evaluated[:, iris, axis] += 0.1 * width  # both to the right of the picture, or down
    data = of_landmarks(evaluated, target)
    assert gaze(data) == pytest.approx(100 * 0.1 / 2, abs=0.3)  # the mean of both axes
    moved = (iris_places(evaluated) - iris_places(target))[0]
    assert moved[0, axis] == pytest.approx(0.1, abs=0.005)
    assert moved[1, axis] == pytest.approx(-0.1 if axis == 0 else 0.1, abs=0.005)


def test_gaze_counts_open_eyes_only() -> None:
    target, evaluated = with_eyes(np.array([0.28, 0.05, 0.28])), with_eyes(np.array([0.28, 0.28, 0.05]))
    evaluated[:, 468, 0] += 3.0
    assert np.isfinite(gaze(of_landmarks(evaluated, target))).tolist() == [True, False, False]


def test_a_face_that_was_not_found_has_no_expression() -> None:
    landmarks, shapes = face(), acting()
    landmarks[5], shapes[5] = np.nan, np.nan
    target = appearance("target", with_eyes(0.24 + 0.06 * WAVE), acting())
    data = made(appearance("render", landmarks, shapes), target)
    for metric in FAMILY:
        if metric.name != "expression_mouth":  # the target's does not move
            assert evaluate_metric(metric, data)[0].count == COUNT - 1, metric.name
    nothing = made(appearance("render", np.full_like(landmarks, np.nan), np.full_like(shapes, np.nan)), target)
    for metric in FAMILY:
        assert np.isnan(evaluate_metric(metric, nothing)[0].value), metric.name
