"""Smoothing reduces jitter without lag."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from visagist.faces import FaceTable, align, invert, smooth_alignments, transform

TIMES = np.arange(60) / 25
CLEAR = np.full(60, 20.0)


def alignments(x: np.ndarray, y: np.ndarray, unit: np.ndarray, roll: np.ndarray) -> np.ndarray:
    a, b = unit * np.cos(roll), unit * np.sin(roll)
    back = np.stack([np.stack([a, -b, x], 1), np.stack([b, a, y], 1)], 1)
    return np.stack([invert(matrix) for matrix in back])


def origins(matrices: np.ndarray) -> np.ndarray:
    return np.stack([transform(invert(matrix), np.zeros(2)) for matrix in matrices])


def test_uniform_and_accelerated_motion_is_preserved() -> None:
    made = alignments(100 + 90 * TIMES + 200 * TIMES**2, 80 - 30 * TIMES, 60 + 5 * TIMES, 0.1 * TIMES)
    smooth = smooth_alignments(TIMES, made, CLEAR)
    assert np.abs(origins(smooth) - origins(made))[6:-6].max() < 0.05
    assert np.abs(origins(smooth) - origins(made)).max() < 0.6  # px, at 60 between the pupils; lines fitted at the ends


def test_jitter_of_a_still_face_is_reduced() -> None:
    noise = np.random.default_rng(3).normal(0, 0.15, (2, 60))  # px, at 60 between the pupils
    noisy = alignments(200 + noise[0], 100 + noise[1], np.full(60, 60.0), np.zeros(60))
    error = origins(smooth_alignments(TIMES, noisy, CLEAR)) - [200, 100]
    assert np.abs(error).mean() < 0.6 * np.abs(noise).mean()


def test_fast_motion_has_no_lag() -> None:
    x = 200 + 60 * np.sin(2 * np.pi * 1.5 * TIMES)  # one interpupillary distance per 0.1 s
    noise = np.random.default_rng(3).normal(0, 0.15, 60)
    noisy = alignments(x + noise, np.full(60, 100.0), np.full(60, 60.0), np.zeros(60))
    error = origins(smooth_alignments(TIMES, noisy, CLEAR))[:, 0] - x
    speed = np.gradient(x)
    assert abs((error * speed).sum() / (speed**2).sum()) < 0.02  # frames of lag
    assert np.abs(error).max() < 0.015 * 60


def test_a_jump_is_followed_immediately() -> None:
    x = np.where(np.arange(60) < 30, 100.0, 130.0)
    made = alignments(x, 0 * x, 60 + 0 * x, 0 * x)
    assert np.abs(origins(smooth_alignments(TIMES, made, CLEAR)) - origins(made)).max() <= 0.0068 * 60


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_smoothing_is_symmetric_in_time(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.02, 0.06, count))
    x, y = rng.normal(100, 1, (2, count))
    made = alignments(x, y, np.full(count, 50.0), rng.normal(0, 0.01, count))
    forward = smooth_alignments(times, made, CLEAR[:count])
    backward = smooth_alignments(-times[::-1], made[::-1], CLEAR[:count])[::-1]
    assert np.allclose(forward, backward, atol=1e-8)


def test_jitter_in_footage_is_halved_with_small_displacements(target_table: FaceTable) -> None:
    faces = list(target_table)
    raw = origins(np.stack([align(face.landmarks) for face in faces]))
    smooth = origins(np.stack([face.alignment for face in faces]))
    jitter = [float(np.linalg.norm(np.diff(p, 2, axis=0), axis=1).mean()) for p in (raw, smooth)]
    assert jitter[1] < 0.6 * jitter[0]
    assert np.linalg.norm(raw - smooth, axis=1).max() < 0.01 * 48  # px, at 48 between the pupils
