"""What is compared pixel by pixel, against NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.losses.conftest import pictures
from visagist.training import losses

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES = [losses.dssim, losses.absolute, losses.squared, losses.edges]


def test_edges_are_mean_differences_of_neighbours() -> None:
    x, y = pictures(40)
    difference = (x - y).numpy()
    reference = (np.abs(np.diff(difference, axis=-1)).mean() + np.abs(np.diff(difference, axis=-2)).mean()) / 2
    assert losses.edges(x, y, torch.ones(2, 1, 40, 40)).item() == pytest.approx(reference, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_is_zero_for_equal_pictures_and_has_a_gradient_for_others(loss: Loss) -> None:
    x, y = pictures(40)
    weights = torch.ones(2, 1, 40, 40)
    assert loss(x, x, weights).item() == pytest.approx(0, abs=1e-5)
    y.requires_grad_()
    loss(x, y, weights).backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_what_the_weights_leave_out_does_not_count(loss: Loss) -> None:
    x, y = pictures(40)
    weights = torch.zeros(2, 1, 40, 40)
    weights[..., :14, :] = 1
    changed = y.clone()
    changed[..., 30:, :] = 0
    assert loss(x, y, weights).item() == pytest.approx(loss(x, changed, weights).item())


def test_squared_punishes_one_large_error_more_than_many_small_ones() -> None:
    truth, weights = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    small, large = torch.full_like(truth, 0.1), torch.zeros_like(truth)
    large[..., 0, :] = 0.8  # an eighth of the pixels, eight times as far off
    assert losses.absolute(small, truth, weights).item() == pytest.approx(losses.absolute(large, truth, weights).item())
    assert losses.squared(small, truth, weights).item() == pytest.approx(0.01)
    assert losses.squared(large, truth, weights).item() == pytest.approx(0.08)


def test_unmasked_training_counts_every_pixel_as_skin() -> None:
    hull, importance = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    hull[..., 1:, :] = importance[..., 3, :] = 1  # surroundings, skin, skin, eyes
    of_rows = [
        losses.pixel_weights(hull, importance, 0.05, priority, masked)[0, 0, :, 0].tolist()
        for masked, priority in ((True, 8.0), (False, 8.0), (False, 0.0))
    ]
    assert of_rows == [pytest.approx([0.05, 1.05, 1.05, 9.05]), [1, 1, 1, 9], [1, 1, 1, 1]]
