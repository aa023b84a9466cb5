"""Blur, movement, scaling and noise, against SciPy, OpenCV and Pillow."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from tests.training.augment.conftest import as_array, generator, pictures
from visagist.training.augment.degrade import add_noise, blur, motion_blur, motion_kernels, rescale


def test_blur_is_scipys_within_the_picture() -> None:
    sigmas = [0.4, 1.0, 3.0]
    rgb = pictures(3, 40)
    for before, after, sigma in zip(rgb, blur(rgb, torch.tensor(sigmas)), sigmas, strict=True):

        def filtered(x: np.ndarray, sigma: float = sigma) -> np.ndarray:
            return scipy.ndimage.gaussian_filter(x, (0, sigma, sigma), mode="constant", truncate=20)

        reference = filtered(before.double().numpy()) / filtered(np.ones(before.shape))
        np.testing.assert_allclose(after.numpy(), reference, atol=1e-5)


@pytest.mark.parametrize("side", [7, 16, 25, 39, 40])
def test_rescale_is_pillows_down_and_up(side: int) -> None:
    rgb = pictures(2, 40)
    after = rescale(rgb, torch.tensor([side, 40]))
    for channel, got in zip(rgb[0], after[0], strict=True):
        image = Image.fromarray(channel.numpy())  # mode F
        small = image.resize((side, side), Image.Resampling.BILINEAR)
        reference = np.asarray(small.resize((40, 40), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(got.numpy(), reference, atol=2e-3)
    torch.testing.assert_close(after[1], rgb[1])


def test_movement_smears_along_its_direction_by_its_length() -> None:
    length, angle = torch.tensor([0.0, 8.0, 8.0, 5.0]), torch.tensor([0.0, 0.0, torch.pi / 2, torch.pi / 6])
    kernels = motion_kernels(length, angle, 8.0).double()
    radius = kernels.shape[-1] // 2
    line = torch.arange(-radius, radius + 1).double()
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(4).double())
    across, down = (kernels * line**2).sum((1, 2)), (kernels * line[:, None] ** 2).sum((1, 2))
    both = (kernels * line * line[:, None]).sum((1, 2))
    variance = length.double() ** 2 / 12
    torch.testing.assert_close(across, variance * angle.cos() ** 2, atol=0.3, rtol=0)
    torch.testing.assert_close(down, variance * angle.sin() ** 2, atol=0.3, rtol=0)
    torch.testing.assert_close(both, variance * angle.cos() * angle.sin(), atol=0.3, rtol=0)
    assert kernels[0, radius, radius] == 1


def test_motion_blur_is_opencvs_filter() -> None:
    rgb = pictures(3, 40)
    kernels = motion_kernels(torch.tensor([0.0, 3.0, 7.0]), torch.tensor([0.0, 1.0, 2.5]), 7.0)
    for before, after, kernel in zip(rgb, motion_blur(rgb, kernels), kernels, strict=True):
        reference = cv2.filter2D(as_array(before), -1, kernel.numpy(), borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(as_array(after), reference, atol=1e-5)


def test_noise_has_the_deviation_of_each_face_and_is_not_the_same_on_two() -> None:
    grey = torch.full((3, 3, 64, 64), 0.5)
    field = torch.randn(3, 64, 64, generator=generator())
    shift, deviation = torch.tensor([[0, 0], [10, 33], [5, 5]]), torch.tensor([0.05, 0.05, 0.0])
    noise = add_noise(grey, field, shift, deviation) - 0.5
    assert noise.std((1, 2, 3)).tolist() == pytest.approx([0.05, 0.05, 0.0], rel=0.03)
    assert abs(torch.corrcoef(noise[:2].flatten(1))[0, 1]) < 0.05
    torch.testing.assert_close(noise[1], noise[0].roll((10, 33), (1, 2)))
    assert add_noise(grey * 0, field, shift, deviation).min() == 0
