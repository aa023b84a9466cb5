"""Blur, movement, scaling, noise and JPEG: against SciPy, OpenCV and Pillow."""

import io

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from tests.training.augment.conftest import as_array, generator, pictures
from visagist.training.augment.degrade import add_noise, blur, jpeg, jpeg_tables, motion_blur, motion_kernels, rescale


def test_blur_agrees_with_scipy_inside_the_image() -> None:
    sigmas = [0.0, 0.4, 1.0, 3.0]
    rgb = pictures(4, 40)
    for before, after, sigma in zip(rgb, blur(rgb, torch.tensor(sigmas)), sigmas, strict=True):
        weighted, weights = (
            scipy.ndimage.gaussian_filter(x, (0, sigma, sigma), mode="constant", truncate=20)
            for x in (before.double().numpy(), np.ones(before.shape))
        )
        np.testing.assert_allclose(after.numpy(), weighted / weights, atol=1e-5)


@pytest.mark.parametrize("side", [7, 16, 25, 39, 40])
def test_rescale_agrees_with_pillow(side: int) -> None:
    rgb = pictures(2, 40)
    after = rescale(rgb, torch.tensor([side, 40]))
    for channel, got in zip(rgb[0], after[0], strict=True):
        small = Image.fromarray(channel.numpy()).resize((side, side), Image.Resampling.BILINEAR)
        reference = np.asarray(small.resize((40, 40), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(got.numpy(), reference, atol=2e-3)
    torch.testing.assert_close(after[1], rgb[1])


def test_motion_kernels_have_the_variance_of_a_line() -> None:
    length, angle = torch.tensor([0.0, 8.0, 8.0, 5.0]), torch.tensor([0.0, 0.0, torch.pi / 2, torch.pi / 6])
    kernels = motion_kernels(length, angle, 8.0)
    line = torch.arange(-(kernels.shape[-1] // 2), kernels.shape[-1] // 2 + 1.0)
    xx, yy, xy = ((kernels * w).sum((1, 2)) for w in (line**2, line[:, None] ** 2, line * line[:, None]))
    cosine, sine, variance = angle.cos(), angle.sin(), length**2 / 12
    expected = torch.stack([cosine**2, sine**2, cosine * sine]) * variance
    torch.testing.assert_close(torch.stack([xx, yy, xy]), expected, atol=0.3, rtol=0)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(4))
    assert kernels[0].max() == 1  # no movement, no blur


def test_motion_blur_agrees_with_opencv() -> None:
    rgb = pictures(3, 40)
    kernels = motion_kernels(torch.tensor([0.0, 3.0, 7.0]), torch.tensor([0.0, 1.0, 2.5]), 7.0)
    for before, after, kernel in zip(rgb, motion_blur(rgb, kernels), kernels, strict=True):
        reference = cv2.filter2D(as_array(before), -1, kernel.numpy(), borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(as_array(after), reference, atol=1e-5)


def test_noise_is_shifted_and_scaled_for_each_face() -> None:
    gray, field = torch.full((3, 3, 64, 64), 0.5), torch.randn(3, 64, 64, generator=generator())
    shift, deviation = torch.tensor([[0, 0], [10, 33], [5, 5]]), torch.tensor([0.05, 0.05, 0.0])
    noise = add_noise(gray, field, shift, deviation) - 0.5
    torch.testing.assert_close(noise[0], field * 0.05)
    torch.testing.assert_close(noise[1], noise[0].roll((10, 33), (1, 2)))
    assert noise[2].abs().max() == 0
    assert add_noise(gray * 0, field, shift, deviation).min() == 0


def pillow_jpeg(rgb: np.ndarray, quality: int) -> tuple[np.ndarray, dict[int, list[int]]]:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=2)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), np.float32), image.quantization  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("size", [64, 52])
def test_jpeg_agrees_with_pillow(size: int) -> None:
    qualities = (5, 20, 50, 75, 95)
    levels = (pictures(len(qualities), size, 3) * 255).round()
    compressed = jpeg(levels / 255, jpeg_tables(torch.tensor(qualities).float())) * 255
    for before, after, quality in zip(levels, compressed, qualities, strict=True):
        reference, _ = pillow_jpeg(as_array(before).astype(np.uint8), quality)
        error = np.abs(as_array(after) - reference)
        lost = np.abs(as_array(before) - reference).mean()
        assert error.mean() < min(1.2, 0.4 * lost), quality  # Pillow rounds to whole levels
        assert np.quantile(error, 0.99) < 9, quality  # which moves some coefficients to the next step


def test_jpeg_tables_are_those_that_pillow_writes() -> None:
    tables = jpeg_tables(torch.arange(1, 101).float()).flatten(2).int()
    for quality in range(1, 101):
        _, written = pillow_jpeg(np.zeros((16, 16, 3), np.uint8), quality)
        assert tables[quality - 1].tolist() == [list(written[0]), list(written[1])], quality
