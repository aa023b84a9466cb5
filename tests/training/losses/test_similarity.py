"""DSSIM at several sizes and the figures of held-out faces, against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from visagist.training.losses.similarity import scales

from tests.training.losses.conftest import disc, pictures
from visagist.training import losses


def halved(picture: np.ndarray) -> np.ndarray:
    """`(..., H, W)` by means of 2x2."""
    h, w = (side // 2 for side in picture.shape[-2:])
    return picture[..., : 2 * h, : 2 * w].reshape(*picture.shape[:-2], h, 2, w, 2).mean((-3, -1))


def similarity_map(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM around each pixel of one picture `(3, H, W)`; 5 px of rim are scikit-image's own."""
    return structural_similarity(
        x, y, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True
    )[1]


def reference(x: np.ndarray, y: np.ndarray, weights: np.ndarray, parts: tuple[int, ...]) -> float:
    """DSSIM of one picture by scikit-image, the sizes weighed by `parts`."""
    total = 0.0
    for part in parts:
        similarity = similarity_map(x, y)
        inside = np.broadcast_to(weights[:, 5:-5, 5:-5], (3, *weights[0, 5:-5, 5:-5].shape))
        total += part * float(np.average((1 - similarity[:, 5:-5, 5:-5]) / 2, weights=inside))
        x, y, weights = halved(x), halved(y), halved(weights)
    return total / sum(parts)


@pytest.mark.parametrize(
    ("size", "parts"), [(40, (2, 1)), (255, (2, 1)), (256, (4, 2, 1)), (304, (4, 2, 1)), (512, (8, 4, 2, 1))]
)
def test_dssim_equals_scikit_image_at_every_size_of_the_picture(size: int, parts: tuple[int, ...]) -> None:
    x, y = pictures(size, count=1)
    weights = 0.05 + disc(size, count=1)
    ours = losses.dssim(x, y, weights).item()
    assert scales(size) == len(parts)
    assert ours == pytest.approx(reference(x[0].numpy(), y[0].numpy(), weights[0].numpy(), parts), rel=1e-4)


def test_ssim_map_equals_scikit_image() -> None:
    x, y = pictures(40)
    for ours, one, other in zip(losses.ssim_map(x, y), x.numpy(), y.numpy(), strict=True):
        np.testing.assert_allclose(ours.numpy(), similarity_map(one, other)[:, 5:-5, 5:-5], atol=1e-4)


def test_dssim_below_256_px_is_what_runs_were_trained_with() -> None:
    x, y = pictures(128)
    weights = 0.05 + disc(128)

    def part(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return losses.weighted_mean(1 - losses.ssim_map(x, y), weights[..., 5:-5, 5:-5])

    fine = part(x, y, weights)
    coarse = part(*(torch.nn.functional.avg_pool2d(picture, 2) for picture in (x, y, weights)))
    assert torch.equal(losses.dssim(x, y, weights), (2 * fine + coarse) / 6)


def test_large_pictures_differ_in_coarse_structure_too() -> None:
    """At 512 px an eye drawn too low differs over a hundred pixels, of which a window of 11 px sees little."""
    x, _ = pictures(512, count=1, noise=0)
    moved = torch.roll(x, 12, -2)
    weights = torch.ones(1, 1, 512, 512)
    fine = losses.weighted_mean(1 - losses.ssim_map(x, moved), weights[..., 5:-5, 5:-5]).item() / 2
    assert losses.dssim(x, moved, weights).item() > 1.3 * fine


def test_held_out_figures_are_scikit_images() -> None:
    x, y = pictures(48)
    hull = torch.zeros(2, 1, 48, 48)
    hull[..., 10:30, 12:30] = 1
    expected = [similarity_map(x[i].numpy(), y[i].numpy())[:, 10:30, 12:30].mean() for i in range(2)]
    assert losses.masked_ssim(x, y, hull) == pytest.approx(np.mean(expected), abs=1e-5)
    changed = y.clone()
    changed[..., 40:, :] = 0  # more than a window away
    assert losses.masked_ssim(x, y, hull) == pytest.approx(losses.masked_ssim(x, changed, hull))
    psnr = peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1.0)
    assert losses.masked_psnr(x, y, torch.ones_like(hull)) == pytest.approx(psnr, abs=1e-3)


def test_gradient_of_the_similarity_is_right() -> None:
    x, y = (picture[:1, :1].double() for picture in pictures(24))
    x.requires_grad_()
    weights = disc(24, count=1).double() + 0.1
    assert torch.autograd.gradcheck(lambda x: losses.dssim(x, y, weights), (x,), fast_mode=True)
