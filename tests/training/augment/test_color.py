"""Gains, palettes and jitter: draws by their statistics, colours against scikit-image."""

from collections.abc import Callable

import numpy as np
import pytest
import skimage.color
import torch
from torch import Tensor

from tests.training.augment.conftest import as_array, generator, pictures
from visagist.training.augment import Palette
from visagist.training.augment.color import jitter_hsv, jitter_lab, random_colors

OWN = Palette(torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0.1, 0.1, 0.1]))
OTHER = Palette(torch.tensor([0.6, 0.5, 0.4]), torch.tensor([0.2, 0.1, 0.05]))


def test_a_full_palette_gives_the_other_persons_colors() -> None:
    gain, offset = random_colors(OWN, OTHER, torch.ones(2000, 1), 0.0, generator())
    furthest = (gain[:, 0] - 1).flatten().argmax()
    torch.testing.assert_close(gain[furthest].flatten(), torch.tensor([2.0, 1.0, 0.5]), atol=0.01, rtol=0)
    moved = OWN.mean * gain[furthest].flatten() + offset[furthest].flatten()
    torch.testing.assert_close(moved, OTHER.mean, atol=0.01, rtol=0)


def test_who_may_not_reach_the_other_palette_keeps_its_own() -> None:
    gain, offset = random_colors(OWN, OTHER, torch.tensor([[1.0], [0.0]]), 0.0, generator())
    assert gain[0, 0] > 1.1
    torch.testing.assert_close(gain[1], torch.ones(3, 1, 1))
    torch.testing.assert_close(offset[1], torch.zeros(3, 1, 1))


def test_hsv_jitter_is_a_turn_of_the_hue_and_two_factors() -> None:
    rgb = pictures(2, 24)
    changed = jitter_hsv(rgb, torch.tensor([[0.05, 0.8, 0.9], [-0.1, 1.2, 1.1]]))
    for before, after, (hue, saturation, value) in zip(rgb, changed, [(0.05, 0.8, 0.9), (-0.1, 1.2, 1.1)], strict=True):
        hsv = skimage.color.rgb2hsv(as_array(before))
        hsv = np.stack([(hsv[..., 0] + hue) % 1, hsv[..., 1] * saturation, hsv[..., 2] * value], -1)
        np.testing.assert_allclose(as_array(after), skimage.color.hsv2rgb(hsv.clip(0, 1)), atol=1e-4)


def test_lab_jitter_is_a_shift_of_lightness_and_tint() -> None:
    rgb = pictures(2, 24, low=0.3, high=0.7)
    change = torch.tensor([[5.0, 3.0, -4.0], [-8.0, 0.0, 6.0]])
    for before, after, shift in zip(rgb, jitter_lab(rgb, change), change, strict=True):
        reference = skimage.color.lab2rgb(skimage.color.rgb2lab(as_array(before)) + shift.numpy())
        np.testing.assert_allclose(as_array(after), reference, atol=5e-4)


@pytest.mark.parametrize("jitter", [jitter_hsv, jitter_lab])
def test_jitter_stays_between_black_and_white(jitter: Callable[[Tensor, Tensor], Tensor]) -> None:
    changed = jitter(pictures(2, 16, low=0, high=1), torch.tensor([[50.0, 2.0, 2.0], [-50.0, 1.5, 2.0]]))
    assert changed.min() >= 0
    assert changed.max() <= 1
