"""Losses against scikit-image and NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from visagist.training import losses


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=generator), size=40, mode="bilinear")
    return x, (x + 0.1 * torch.randn(2, 3, 40, 40, generator=generator)).clamp(0, 1)


def test_ssim_map_equals_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    ours = losses.ssim_map(x, y)
    for i in range(2):
        _, reference = structural_similarity(
            x[i].numpy(),
            y[i].numpy(),
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )
        np.testing.assert_allclose(ours[i].numpy(), reference[:, 5:-5, 5:-5], atol=1e-4)


def test_psnr_equals_scikit_image_where_the_hull_is_everything(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    reference = peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1.0)
    assert losses.masked_psnr(x, y, torch.ones(2, 1, 40, 40)) == pytest.approx(reference, abs=1e-3)


def test_edges_are_mean_differences_of_neighbours(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    difference = (x - y).numpy()
    reference = (np.abs(np.diff(difference, axis=-1)).mean() + np.abs(np.diff(difference, axis=-2)).mean()) / 2
    assert losses.edges(x, y, torch.ones(2, 1, 40, 40)).item() == pytest.approx(reference, rel=1e-4)


@pytest.mark.parametrize("loss", [losses.dssim, losses.absolute, losses.edges])
def test_is_zero_for_equal_pictures_and_has_a_gradient_for_others(
    loss: Callable[..., Tensor], pair: tuple[Tensor, Tensor]
) -> None:
    x, y = pair
    weights = torch.ones(2, 1, 40, 40)
    assert loss(x, x, weights).item() == pytest.approx(0, abs=1e-5)
    y = y.clone().requires_grad_()
    loss(x, y, weights).backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0


def test_what_the_weights_leave_out_does_not_count(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    weights = torch.zeros(2, 1, 40, 40)
    weights[..., :14, :] = 1
    changed = y.clone()
    changed[..., 30:, :] = 0
    for loss in (losses.dssim, losses.absolute, losses.edges):
        assert loss(x, y, weights).item() == pytest.approx(loss(x, changed, weights).item())
    assert losses.masked_ssim(x, y, weights) == pytest.approx(losses.masked_ssim(x, changed, weights))


def test_masked_ssim_is_the_mean_of_the_map_over_the_mask(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    hull = torch.zeros(2, 1, 40, 40)
    hull[..., 10:20, 12:30] = 1
    reference = losses.ssim_map(x, y)[..., 5:15, 7:25].mean().item()
    assert losses.masked_ssim(x, y, hull) == pytest.approx(reference, abs=1e-5)


def test_does_not_depend_on_the_number_of_faces(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    mask = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    once = losses.face_loss(x, mask, y, mask.round(), torch.ones_like(mask))
    twice = losses.face_loss(*(torch.cat([t, t]) for t in (x, mask, y, mask.round(), torch.ones_like(mask))))
    assert once.item() == pytest.approx(twice.item(), rel=1e-5)
