"""Focal frequency loss against the paper's formula in NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.training.losses.conftest import disc, face_prediction, pictures
from visagist.training.losses import LOSSES


def spectral_distance(x: Tensor, y: Tensor, window: Tensor) -> Tensor:
    return LOSSES["focal_frequency"](replace(face_prediction(), rgb=x, truth=y, weights=window))


def published(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equations 5 to 7 of Jiang et al. 2021, one value per face, and their gradient by `x` with fixed weights."""
    distance = np.fft.fft2(x, norm="ortho") - np.fft.fft2(y, norm="ortho")
    weight = np.abs(distance)
    weight = weight / weight.max((-2, -1), keepdims=True)
    gradient = 2 * np.fft.ifft2(weight * distance, norm="ortho").real / x[0].size
    return (weight * np.abs(distance) ** 2).mean((1, 2, 3)), gradient


@pytest.mark.parametrize("shape", [(15, 17), (24, 32)])
def test_value_and_gradient_are_the_published_ones(shape: tuple[int, int]) -> None:
    x, y = (picture[..., : shape[0], : shape[1]].double() for picture in pictures(32))
    x = x.clone().requires_grad_()
    losses = spectral_distance(x, y, torch.ones(2, 1, *shape).double())
    values, gradient = published(x.detach().numpy(), y.numpy())
    np.testing.assert_allclose(losses.detach().numpy(), values, rtol=1e-9)
    np.testing.assert_allclose(torch.autograd.grad(losses.sum(), x)[0].numpy(), gradient, atol=1e-12)


def test_window_leaves_out_what_it_does_not_show_and_does_not_change_the_scale() -> None:
    x, y = pictures(64)
    window = (disc(64) > 0.5).float()
    torch.testing.assert_close(spectral_distance(x, y, window), spectral_distance(x, y * window, window))
    double = [torch.cat([each, each], 3) for each in (x, y, window)]
    torch.testing.assert_close(spectral_distance(*double), spectral_distance(x, y, window))


def test_the_priority_of_eyes_and_mouth_does_not_count() -> None:
    faces = face_prediction()
    assert faces.weights.max() > 8
    expected = spectral_distance(faces.rgb, faces.truth, faces.weights.clamp(max=1))
    torch.testing.assert_close(LOSSES["focal_frequency"](faces), expected)


def test_a_missing_texture_costs_more_than_noise_of_the_same_energy() -> None:
    truth = torch.full((1, 1, 64, 64), 0.5)
    grating = 0.1 * torch.sin(torch.arange(64) * 2 * torch.pi * 16 / 64).expand(1, 1, 64, 64)
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = noise * (grating.square().mean() / noise.square().mean()).sqrt()
    torch.testing.assert_close(F.mse_loss(truth + grating, truth), F.mse_loss(truth + noise, truth))
    ones = torch.ones(1, 1, 64, 64)
    assert spectral_distance(truth + grating, truth, ones) > 1.5 * spectral_distance(truth + noise, truth, ones)
