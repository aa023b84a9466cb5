"""Pose and placement on constructed heads."""

import numpy as np
import pytest
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.evaluation.metrics.pose import FAMILY, placement, stable_fit
from visagist.faces import head_pose, head_rotation, mean_mesh, similarity, transform_landmarks
from visagist.faces.align import STABLE_POINTS

SCALE = 60.0  # px between the pupils
COUNT = 5


def appearance(name: str, landmarks: NDArray[np.float32]) -> FaceObservations:
    pixels, count = np.zeros((1, 1, 1, 3), np.uint8), len(landmarks)
    poses = np.stack([head_pose(mesh) if np.isfinite(mesh).all() else np.full(3, np.nan) for mesh in landmarks])
    unknown = {"scores": (), "blendshapes": (52,), "independent": (128,), "sface": (128,), "outside": ()}
    rows = {key: np.full((count, *shape), np.nan, np.float32) for key, shape in unknown.items()}
    return FaceObservations(name, pixels, landmarks=landmarks, poses=poses.astype(np.float32), **rows)


def head(yaw: float = 0, pitch: float = 0, roll: float = 0) -> NDArray[np.float32]:
    """Landmarks of the mean face, rotated, 60 px between the pupils, in the centre of a frame."""
    turned = mean_mesh() @ head_rotation(yaw, pitch, roll).T
    return (turned * SCALE + np.array([320.0, 240.0, 0.0])).astype(np.float32)


def made(evaluated: NDArray[np.float32], target: NDArray[np.float32]) -> EvaluationData:
    """Data of five equal frames."""
    pixels, masks = np.zeros((4, 1, 1), np.uint8), np.zeros((COUNT, 1, 1), np.uint8)
    source = Source(pixels, pixels, np.zeros((4, 478, 3)), np.zeros((4, 3)), np.eye(4, 128), np.eye(4, 128))
    seen, theirs = (np.repeat(mesh[None], COUNT, axis=0) for mesh in (target, evaluated))
    return EvaluationData(
        frames=np.arange(COUNT), times=np.arange(COUNT) / 25, follows=np.arange(COUNT) > 0,
        matrices=np.zeros((COUNT, 2, 3)), masks=masks, hulls=masks, is_swapped=np.ones(COUNT, bool),
        target=appearance("target", seen), evaluated=appearance("render", theirs), source=source,
        impostors=np.empty((0, 128), np.float32),
    )  # fmt: skip


def angles(data: EvaluationData) -> list[float]:
    return [float(metric.measure(data)[0]) for metric in FAMILY[:3]]


def test_angles_are_differences_in_degrees() -> None:
    assert angles(made(head(12, -3, 5), head(10, 4, 6))) == pytest.approx([2, 7, 1], abs=0.01)
    assert angles(made(head(10, 4, 6), head(12, -3, 5))) == pytest.approx([2, 7, 1], abs=0.01)


def test_angles_wrap_around() -> None:
    assert angles(made(head(roll=179), head(roll=-179)))[2] == pytest.approx(2, abs=0.01)


def test_a_shift_affects_placement_but_not_pose() -> None:
    shifted = head() + np.array([1.2, -1.6, 0.0], np.float32)  # 2 px
    data = made(shifted, head())
    assert placement(data) == pytest.approx(100 * 2 / data.eye_distances, rel=1e-4)
    assert angles(data) == pytest.approx([0, 0, 0], abs=0.01)


def test_size_and_roll_affect_placement() -> None:
    assert placement(made(head(), head())) == pytest.approx(0, abs=1e-4)
    larger = (head() - [320, 240, 0]) * 1.05 + [320, 240, 0]
    assert 1 < placement(made(larger.astype(np.float32), head()))[0] < 5
    assert 1 < placement(made(head(roll=3), head()))[0] < 5


def test_the_fit_matches_umeyama() -> None:
    generator = np.random.default_rng(3)
    evaluated = (head(8, 3, 20) + generator.normal(0, 2, (478, 3))).astype(np.float32)
    turn, shift = stable_fit(made(evaluated, head()))
    matrix = similarity(evaluated[STABLE_POINTS, :2].astype(np.float64), head()[STABLE_POINTS, :2].astype(np.float64))
    ours = np.array([[turn[0].real, -turn[0].imag, shift[0].real], [turn[0].imag, turn[0].real, shift[0].imag]])
    assert ours == pytest.approx(matrix, abs=1e-6)
    moved = transform_landmarks(matrix, evaluated)
    expected = np.linalg.norm((moved - evaluated)[STABLE_POINTS, :2], axis=1).mean()
    data = made(evaluated, head())
    assert placement(data) == pytest.approx(100 * expected / data.eye_distances, rel=1e-4)


def test_a_face_that_was_not_found_has_no_pose() -> None:
    data = made(np.full((478, 3), np.nan, np.float32), head())
    for metric in FAMILY:
        assert np.isnan(metric.measure(data)).all(), metric.name
