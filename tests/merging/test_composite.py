"""Compositing changes only samples of the decoder's planes that the mask covers."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visagist.media import Color, Display, Frame, align_region
from visagist.media.layout import layout
from visagist.merging.composite import composite

SIZE = 64
COLOR = Color("bt709", "tv", "bt709", "bt709")


def noisy_frame(name: str, width: int = 160, height: int = 120) -> Frame:
    kind = layout(name)
    assert kind is not None
    rng = np.random.default_rng(3)
    planes = []
    for number, _ in enumerate(kind.channels):
        columns, rows = kind.plane_size(number, width, height)
        # little chroma: a colour outside the gamut of RGB is clipped on its way there
        low, high = (v << (kind.depth - 8) for v in ((60, 180) if number == 0 else (118, 138)))
        planes.append(rng.integers(low, high, (rows, columns)).astype(kind.dtype))
    return Frame(0, Fraction(0), name, tuple(planes), COLOR, Display(width, height))


def disc() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.circle(mask, (32, 32), 20, 1.0, -1)
    return cv2.GaussianBlur(mask, (9, 9), 2)


def matrix(x: float, y: float, scale: float = 1.0, degrees: float = 0.0) -> np.ndarray:
    """Frame px to crop px, with the crop's centre at (x, y) of the frame."""
    turn = cv2.getRotationMatrix2D((x, y), degrees, scale)
    turn[:, 2] += SIZE / 2 - np.array([x, y])
    return turn


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_samples_change_only_inside_the_mask(name: str) -> None:
    frame = noisy_frame(name)
    face = np.full((SIZE, SIZE, 3), 0.9, np.float32)
    changed, weight, region = composite(frame, face, disc(), matrix(80, 60, 1.1, 20))
    assert region is not None
    covered = np.zeros((frame.height, frame.width), bool)
    covered[region.y0 : region.y1, region.x0 : region.x1] = weight > 0
    assert covered.mean() < 0.25
    for before, after in zip(frame.planes, changed.planes, strict=True):
        across, down = frame.width // before.shape[1], frame.height // before.shape[0]
        touched = covered.reshape(before.shape[0], down, before.shape[1], across).any((1, 3))
        np.testing.assert_array_equal(after[~touched], before[~touched])
        assert (after[touched] != before[touched]).mean() > 0.5
        assert after.dtype == before.dtype


def test_full_weight_shows_the_face() -> None:
    frame = noisy_frame("yuv444p")
    face = np.tile(np.float32([0.7, 0.4, 0.3]), (SIZE, SIZE, 1))
    changed, _, _ = composite(frame, face, disc(), matrix(80, 60))
    np.testing.assert_allclose(changed.rgb()[55:65, 75:85], np.tile(face[0, 0], (10, 10, 1)), atol=1.5 / 219)


@given(st.floats(-40, 200), st.floats(-40, 160), st.floats(0.4, 3.0), st.floats(0, 360))
@settings(max_examples=40)
def test_the_face_may_be_anywhere(x: float, y: float, scale: float, degrees: float) -> None:
    frame = noisy_frame("yuv420p")
    changed, weight, region = composite(
        frame, np.ones((SIZE, SIZE, 3), np.float32), disc(), matrix(x, y, scale, degrees)
    )
    if region is None:
        assert changed is frame
    else:
        assert weight.shape == (region.y1 - region.y0, region.x1 - region.x0)
        assert 0 <= weight.min() <= weight.max() <= 1
        grid = align_region(frame, region)
        outside = np.ones(frame.planes[0].shape, bool)
        outside[grid.y0 : grid.y1, grid.x0 : grid.x1] = False
        np.testing.assert_array_equal(changed.planes[0][outside], frame.planes[0][outside])


def test_an_identical_face_changes_nothing() -> None:
    frame = noisy_frame("yuv420p10le")
    place = matrix(80, 60)
    changed, _, _ = composite(frame, frame.warp(place, (SIZE, SIZE)), disc(), place)
    for before, after in zip(frame.planes, changed.planes, strict=True):
        assert np.abs(after.astype(int) - before).max() <= 2
