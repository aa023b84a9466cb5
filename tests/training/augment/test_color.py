"""Gain, jitter and CLAHE: against scikit-image and OpenCV."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import skimage.color
import torch
from torch import Tensor

from tests.training.augment.conftest import as_array, generator, pictures
from visagist.training.augment.color import clahe, equalize, jitter_hsv, jitter_lab, random_colors
from visagist.training.augment.spaces import luma

OWN = torch.tensor([[0.3, 0.4, 0.5], [0.1, 0.1, 0.1]])
OTHER = torch.tensor([[0.6, 0.5, 0.4], [0.2, 0.1, 0.05]])


def test_colors_go_from_the_own_palette_to_the_other() -> None:
    reach = torch.ones(2000, 1)
    reach[0] = 0
    gain, offset = (x[..., 0, 0] for x in random_colors(OWN, OTHER, reach, 0.0, generator()))
    for face, palette in ((0, OWN), (gain[:, 0].argmax(), OTHER)):
        found = torch.stack([OWN[0] * gain[face] + offset[face], OWN[1] * gain[face]])
        torch.testing.assert_close(found, palette, atol=1e-3, rtol=0)


def hsv_reference(rgb: np.ndarray, change: np.ndarray) -> np.ndarray:
    hsv = skimage.color.rgb2hsv(rgb)
    hsv = np.concatenate([(hsv[..., :1] + change[0]) % 1, hsv[..., 1:] * change[1:]], -1)
    return skimage.color.hsv2rgb(hsv.clip(0, 1))


def lab_reference(rgb: np.ndarray, change: np.ndarray) -> np.ndarray:
    return skimage.color.lab2rgb(skimage.color.rgb2lab(rgb) + change)


@pytest.mark.parametrize(
    ("jitter", "reference", "changes"),
    [
        (jitter_hsv, hsv_reference, [[0.05, 0.8, 0.9], [-0.1, 1.2, 1.1]]),
        (jitter_lab, lab_reference, [[5.0, 3.0, -4.0], [-8.0, 0.0, 6.0]]),
    ],
)
def test_jitter_agrees_with_scikit_image(
    jitter: Callable[[Tensor, Tensor], Tensor],
    reference: Callable[[np.ndarray, np.ndarray], np.ndarray],
    changes: list[list[float]],
) -> None:
    rgb, change = pictures(2, 24, low=0.3, high=0.7), torch.tensor(changes)
    for before, after, values in zip(rgb, jitter(rgb, change), change.numpy(), strict=True):
        np.testing.assert_allclose(as_array(after), reference(as_array(before), values), atol=5e-4)
    extreme = jitter(pictures(2, 16, low=0, high=1), torch.tensor([[50.0, 2.0, 2.0], [-50.0, 1.5, 2.0]]))
    assert 0 <= extreme.min() <= extreme.max() <= 1


@pytest.mark.parametrize(("size", "tiles"), [(64, 8), (128, 4), (64, 1), (90, 4), (50, 8)])
def test_clahe_agrees_with_opencv(size: int, tiles: int) -> None:
    clips = [1.0, 2.5, 10.0, 40.0]
    levels = (luma(pictures(len(clips), size, size, low=0.3, high=0.6)) * 255).round()
    equal = clahe(levels / 255, torch.tensor(clips), tiles) * 255
    for gray, clip, got in zip(levels, clips, equal, strict=True):
        reference = cv2.createCLAHE(clip, (tiles, tiles)).apply(gray[0].numpy().astype(np.uint8))
        np.testing.assert_allclose(got[0].numpy(), reference, atol=0.51)  # OpenCV rounds


def test_equalize_keeps_differences_between_channels_and_makes_no_bands() -> None:
    rgb = pictures(2, 64, low=0.4, high=0.6) + 1e-3 * torch.rand(2, 3, 64, 64, generator=generator())
    equal = equalize(rgb, torch.tensor([1.5, 2.0]), 4)
    free = ((equal > 0) & (equal < 1)).all(1)
    torch.testing.assert_close((equal[:, 0] - equal[:, 2])[free], (rgb[:, 0] - rgb[:, 2])[free], atol=1e-5, rtol=0)
    ramp = torch.linspace(0.4, 0.45, 4096).reshape(1, 1, 64, 64).expand(1, 3, 64, 64)
    assert len(equalize(ramp, torch.tensor([2.0]), 1).unique()) > 1000
