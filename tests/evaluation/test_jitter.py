"""Jitter: the second difference of the evaluated landmarks relative to the target's."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.constructed import real_data, seen_as

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metrics.jitter import jitter


def displaced(shifts: np.ndarray) -> EvaluationData:
    """Real data with the evaluated landmarks shifted by `(N, 2)` % of the eye distance."""
    data = real_data()
    landmarks = data.target.landmarks.astype(np.float64)
    landmarks[:, :, :2] += (shifts * data.eye_distances[:, None] / 100)[:, None]
    return data.with_evaluated(seen_as("evaluated", data.target.crops, landmarks.astype(np.float32)))


def along_x(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.zeros(len(values))])


def test_the_target_itself_does_not_tremble() -> None:
    found = jitter(real_data())
    np.testing.assert_array_equal(np.isnan(found), [True] + [False] * 10 + [True])
    np.testing.assert_array_equal(found[1:-1], 0)


@pytest.mark.parametrize("way", ["elsewhere", "drifting"])
def test_steady_and_drifting_faces_do_not_tremble(way: str) -> None:
    steps = np.full(12, 3.0) if way == "elsewhere" else np.arange(12) * 0.8
    np.testing.assert_allclose(jitter(displaced(along_x(steps)))[1:-1], 0, atol=0.01)


def test_alternation_counts_four_times_its_amplitude() -> None:
    """Between +a and -a the second difference is 4 a."""
    steps = np.where(np.arange(12) % 2, 0.5, -0.5)
    np.testing.assert_allclose(jitter(displaced(along_x(steps)))[1:-1], 2, atol=0.02)


def test_a_single_jump_affects_only_its_frames() -> None:
    steps = np.zeros((12, 2))
    steps[6] = [3, 4]
    found = jitter(displaced(steps))
    np.testing.assert_allclose(found[1:-1], [0, 0, 0, 0, 5, 10, 5, 0, 0, 0], atol=0.03)


def test_a_few_wrong_landmarks_do_not_matter() -> None:
    data = real_data()
    landmarks = data.target.landmarks.copy()
    landmarks[::2, :100] += 20
    found = jitter(data.with_evaluated(seen_as("evaluated", data.target.crops, landmarks)))
    np.testing.assert_array_equal(found[1:-1], 0)


def test_three_consecutive_frames_are_needed() -> None:
    data = real_data()
    follows = data.follows.copy()
    follows[5] = False
    landmarks = data.target.landmarks.copy()
    landmarks[9] = np.nan
    found = jitter(replace(data, follows=follows, evaluated=seen_as("evaluated", data.target.crops, landmarks)))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [0, 4, 5, 8, 9, 10, 11])


def test_two_frames_are_too_few() -> None:
    data = real_data()
    seen = seen_as("two", data.target.crops[:2], data.target.landmarks[:2])
    assert np.isnan(jitter(replace(data, follows=data.follows[:2], target=seen, evaluated=seen))).all()
