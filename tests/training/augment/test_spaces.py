"""Colour spaces: against scikit-image and Pillow, and back again."""

from collections.abc import Callable

import numpy as np
import pytest
import skimage.color
import torch
from PIL import Image
from torch import Tensor

from tests.training.augment.conftest import as_array, generator
from visagist.training.augment.spaces import (
    hsv_to_rgb,
    lab_to_rgb,
    rgb_to_hsv,
    rgb_to_lab,
    rgb_to_ycbcr,
    ycbcr_to_rgb,
)

EDGES = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5], [0.02, 0.03, 0.01]])


@pytest.fixture
def colors() -> Tensor:
    """`(2, 3, 32, 32)`: random colours and `EDGES`."""
    rgb = torch.rand(2, 3, 32, 32, generator=generator())
    rgb[0, :, 0, : len(EDGES)] = EDGES.T
    return rgb


@pytest.mark.parametrize(
    ("convert", "reference", "scale", "shift", "tolerance"),
    [
        (rgb_to_lab, skimage.color.rgb2lab, (1, 1, 1), (0, 0, 0), 0.02),
        (rgb_to_hsv, skimage.color.rgb2hsv, (1, 1, 1), (0, 0, 0), 1e-5),
        (lab_to_rgb, skimage.color.lab2rgb, (40, 20, 20), (40, -10, -10), 2e-4),  # inside the gamut: others are clipped
        (hsv_to_rgb, skimage.color.hsv2rgb, (1, 1, 1), (0, 0, 0), 1e-5),
    ],
)
def test_conversions_agree_with_scikit_image(
    colors: Tensor,
    convert: Callable[[Tensor], Tensor],
    reference: Callable[[np.ndarray], np.ndarray],
    scale: tuple[float, float, float],
    shift: tuple[float, float, float],
    tolerance: float,
) -> None:
    values = colors * torch.tensor(scale)[:, None, None] + torch.tensor(shift)[:, None, None]
    for value, converted in zip(values, convert(values), strict=True):
        np.testing.assert_allclose(as_array(converted), reference(as_array(value)), atol=tolerance)


def test_ycbcr_agrees_with_pillow(colors: Tensor) -> None:
    levels = (colors[0] * 255).round()
    reference = np.asarray(Image.fromarray(as_array(levels).astype(np.uint8)).convert("YCbCr"), np.float32)
    converted = as_array(rgb_to_ycbcr(levels[None] / 255)[0]) * 255 + [0, 128, 128]
    np.testing.assert_allclose(converted, reference, atol=1.01)
    assert abs(converted - reference).mean() < 0.5


@pytest.mark.parametrize(
    ("forward", "backward"), [(rgb_to_lab, lab_to_rgb), (rgb_to_hsv, hsv_to_rgb), (rgb_to_ycbcr, ycbcr_to_rgb)]
)
def test_inverses(colors: Tensor, forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor]) -> None:
    torch.testing.assert_close(backward(forward(colors)), colors, atol=1e-4, rtol=0)


def test_colors_outside_the_gamut_are_finite() -> None:
    lab = torch.tensor([[0.0, 90, -90], [100, -90, 90], [-5, 0, 0]]).T.reshape(1, 3, 1, 3)
    assert torch.isfinite(lab_to_rgb(lab)).all()
