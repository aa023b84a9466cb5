"""Jitter: the second difference of what the judged landmarks do beside the target's."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.constructed import real_case, seen_as

from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metrics.jitter import jitter


def displaced(shifts: np.ndarray) -> Case:
    """The real case with the judged landmarks shifted by `(N, 2)` per cent of the eyes' distance."""
    case = real_case()
    landmarks = case.target.landmarks.astype(np.float64)
    landmarks[:, :, :2] += (shifts * case.eye_distances[:, None] / 100)[:, None]
    return case.judging(seen_as("judged", case.target.crops, landmarks.astype(np.float32)))


def along_x(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.zeros(len(values))])


def test_the_target_itself_does_not_tremble() -> None:
    found = jitter(real_case())
    np.testing.assert_array_equal(np.isnan(found), [True] + [False] * 10 + [True])
    np.testing.assert_array_equal(found[1:-1], 0)


@pytest.mark.parametrize("way", ["elsewhere", "drifting"])
def test_what_is_steady_or_drifts_steadily_does_not_tremble(way: str) -> None:
    steps = np.full(12, 3.0) if way == "elsewhere" else np.arange(12) * 0.8
    np.testing.assert_allclose(jitter(displaced(along_x(steps)))[1:-1], 0, atol=0.01)


def test_to_and_fro_counts_four_times_its_reach() -> None:
    """Between +a and -a the second difference is 4 a."""
    steps = np.where(np.arange(12) % 2, 0.5, -0.5)
    np.testing.assert_allclose(jitter(displaced(along_x(steps)))[1:-1], 2, atol=0.02)


def test_a_single_jump_shows_at_its_frames_alone() -> None:
    steps = np.zeros((12, 2))
    steps[6] = [3, 4]
    found = jitter(displaced(steps))
    np.testing.assert_allclose(found[1:-1], [0, 0, 0, 0, 5, 10, 5, 0, 0, 0], atol=0.03)


def test_a_few_landmarks_that_fail_do_not_decide() -> None:
    case = real_case()
    landmarks = case.target.landmarks.copy()
    landmarks[::2, :100] += 20
    found = jitter(case.judging(seen_as("judged", case.target.crops, landmarks)))
    np.testing.assert_array_equal(found[1:-1], 0)


def test_only_three_frames_in_a_row_are_measured() -> None:
    case = real_case()
    follows = case.follows.copy()
    follows[5] = False
    landmarks = case.target.landmarks.copy()
    landmarks[9] = np.nan
    found = jitter(replace(case, follows=follows, judged=seen_as("judged", case.target.crops, landmarks)))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [0, 4, 5, 8, 9, 10, 11])


def test_two_frames_are_too_few() -> None:
    case = real_case()
    seen = seen_as("two", case.target.crops[:2], case.target.landmarks[:2])
    assert np.isnan(jitter(replace(case, follows=case.follows[:2], target=seen, judged=seen))).all()
