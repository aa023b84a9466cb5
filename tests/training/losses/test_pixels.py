"""Losses of pixels against NumPy and values computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.losses.conftest import face_prediction, pictures
from visagist.training.losses import LOSSES
from visagist.training.losses.edges import edge_difference
from visagist.training.losses.pixels import pixel_weights


def test_edges_are_mean_differences_of_neighbours() -> None:
    x, y = pictures(40)
    difference = (x - y).numpy()
    across, down = (np.abs(np.diff(difference, axis=axis)).mean((1, 2, 3)) for axis in (-1, -2))
    found = edge_difference(x, y, torch.ones(2, 1, 40, 40))
    np.testing.assert_allclose(found.numpy(), (across + down) / 2, rtol=1e-4)


def test_squared_punishes_one_large_error_more_than_many_small_ones() -> None:
    truth = torch.zeros(2, 3, 8, 8)
    rgb = torch.full_like(truth, 0.1)
    rgb[1] = 0
    rgb[1, :, 0] = 0.8  # an eighth of the pixels, eight times as far off
    faces = replace(face_prediction(8, 2), rgb=rgb, truth=truth, weights=torch.ones(2, 1, 8, 8))
    assert LOSSES["absolute"](faces).tolist() == pytest.approx([0.1, 0.1])
    assert LOSSES["squared"](faces).tolist() == pytest.approx([0.01, 0.08])


@pytest.mark.parametrize(
    ("masked", "eyes_mouth", "expected"),
    [(True, 8.0, [0.05, 1.05, 1.05, 9.05]), (False, 8.0, [1, 1, 1, 9]), (False, 0.0, [1, 1, 1, 1])],
)
def test_pixel_weights_of_surroundings_skin_and_eyes(masked: bool, eyes_mouth: float, expected: list[float]) -> None:
    hull, importance = torch.tensor([0.0, 1, 1, 1]), torch.tensor([0.0, 0, 0, 1])
    assert pixel_weights(hull, importance, 0.05, eyes_mouth, masked).tolist() == pytest.approx(expected)
