"""Structural similarity against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.training.losses.conftest import disc, pictures
from visagist.training.losses.ssim import masked_psnr, masked_ssim, multiscale_dssim, ssim_map


def halved(picture: np.ndarray) -> np.ndarray:
    """`(..., H, W)` by means of 2x2."""
    h, w = (side // 2 for side in picture.shape[-2:])
    return picture[..., : 2 * h, : 2 * w].reshape(*picture.shape[:-2], h, 2, w, 2).mean((-3, -1))


def reference_map(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM around each pixel of one picture `(3, H, W)`; 5 px of rim are scikit-image's own."""
    return structural_similarity(
        x, y, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True
    )[1]


def reference_dssim(x: np.ndarray, y: np.ndarray, weights: np.ndarray, scales: tuple[int, ...]) -> float:
    """DSSIM of one picture, its scales weighted so."""
    total = 0.0
    for scale in scales:
        inside = np.broadcast_to(weights[:, 5:-5, 5:-5], (3, *weights[0, 5:-5, 5:-5].shape))
        total += scale * float(np.average((1 - reference_map(x, y)[:, 5:-5, 5:-5]) / 2, weights=inside))
        x, y, weights = halved(x), halved(y), halved(weights)
    return total / sum(scales)


@pytest.mark.parametrize(
    ("size", "scales"), [(40, (2, 1)), (255, (2, 1)), (256, (4, 2, 1)), (304, (4, 2, 1)), (512, (8, 4, 2, 1))]
)
def test_dssim_of_each_face_equals_scikit_image(size: int, scales: tuple[int, ...]) -> None:
    x, y = pictures(size)
    weights = 0.05 + disc(size)
    expected = [reference_dssim(*each, scales) for each in zip(x.numpy(), y.numpy(), weights.numpy(), strict=True)]
    assert multiscale_dssim(x, y, weights).tolist() == pytest.approx(expected, rel=1e-4)


def test_ssim_map_equals_scikit_image() -> None:
    x, y = pictures(40)
    for ours, one, other in zip(ssim_map(x, y), x.numpy(), y.numpy(), strict=True):
        np.testing.assert_allclose(ours.numpy(), reference_map(one, other)[:, 5:-5, 5:-5], atol=1e-4)


def test_metrics_inside_the_hull_equal_scikit_image() -> None:
    x, y = pictures(48)
    hull = torch.zeros(2, 1, 48, 48)
    hull[..., 10:30, 12:30] = 1
    expected = [reference_map(x[i].numpy(), y[i].numpy())[:, 10:30, 12:30].mean() for i in range(2)]
    assert masked_ssim(x, y, hull) == pytest.approx(np.mean(expected), abs=1e-5)
    expected = [peak_signal_noise_ratio(*(p[i, :, 10:30, 12:30].numpy() for p in (x, y)), data_range=1) for i in (0, 1)]
    assert masked_psnr(x, y, hull) == pytest.approx(np.mean(expected), abs=1e-3)


def test_gradient_of_dssim() -> None:
    x, y = (picture[:1, :1].double() for picture in pictures(24))
    weights = disc(24, count=1).double() + 0.1
    assert torch.autograd.gradcheck(lambda x: multiscale_dssim(x, y, weights), (x.requires_grad_(),), fast_mode=True)
