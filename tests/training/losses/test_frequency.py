"""Focal frequency loss against the paper's formula in NumPy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.training.losses.conftest import disc, pictures
from visagist.training import losses


def published(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[float, np.ndarray]:
    """Equations 5 to 7 of Jiang et al. 2021 on `(B, C, H, W)`, and the gradient by `x` with fixed weights."""
    distance = np.fft.fft2(x, norm="ortho") - np.fft.fft2(y, norm="ortho")
    weight = np.abs(distance) ** alpha
    weight = weight / weight.max((-2, -1), keepdims=True)
    gradient = 2 * np.fft.ifft2(weight * distance, norm="ortho").real / x.size
    return float((weight * np.abs(distance) ** 2).mean()), gradient


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(16, 16), (15, 17), (24, 32)])
def test_value_and_gradient_are_the_published_ones(shape: tuple[int, int], alpha: float) -> None:
    x, y = (picture[..., : shape[0], : shape[1]].double() for picture in pictures(32))
    x = x.clone().requires_grad_()
    loss = losses.focal_frequency(x, y, torch.ones(2, 1, *shape).double(), alpha)
    value, gradient = published(x.detach().numpy(), y.numpy(), alpha)
    assert loss.item() == pytest.approx(value, rel=1e-9)
    loss.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), gradient, atol=1e-12)


def test_the_default_is_the_papers() -> None:
    x, y = pictures(32)
    ones = torch.ones(2, 1, 32, 32)
    assert losses.focal_frequency(x, y, ones).item() == pytest.approx(published(x.numpy(), y.numpy(), 1.0)[0], rel=1e-4)


def test_window_leaves_out_what_it_does_not_show_and_does_not_change_the_scale() -> None:
    x, y = pictures(64)
    window = (disc(64) > 0.5).float()
    changed = y * window
    assert losses.focal_frequency(x, y, window).item() == pytest.approx(
        losses.focal_frequency(x, changed, window).item(), rel=1e-5
    )
    squares = losses.focal_frequency(x, y, window, alpha=0.0).item()
    assert squares == pytest.approx(losses.squared(x, y, window).item(), rel=1e-4)


def test_blur_costs_more_by_frequency_than_by_pixels_as_it_is_all_in_few_frequencies() -> None:
    """A grating that was not drawn against noise of the same energy: to the mean square both are alike."""
    truth = torch.full((1, 1, 64, 64), 0.5)
    grating = 0.1 * torch.sin(torch.arange(64) * 2 * torch.pi * 16 / 64).expand(1, 1, 64, 64)
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = noise * (grating.square().mean() / noise.square().mean()).sqrt()
    ones = torch.ones(1, 1, 64, 64)
    assert F.mse_loss(truth + grating, truth).item() == pytest.approx(F.mse_loss(truth + noise, truth).item(), rel=1e-4)
    missing = losses.focal_frequency(truth + grating, truth, ones).item()
    assert missing > 1.5 * losses.focal_frequency(truth + noise, truth, ones).item()


def test_equal_pictures_cost_nothing_and_pull_nowhere() -> None:
    x, _ = pictures(32)
    x.requires_grad_()
    loss = losses.focal_frequency(x, x.detach(), torch.ones(2, 1, 32, 32))
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert x.grad.abs().max().item() == 0
