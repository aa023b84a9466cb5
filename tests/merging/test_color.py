"""Colour transfers against scikit-image's Lab."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from visagist.merging.color import COLOR, Image, Mask


def picture(seed: int, low: float, high: float) -> Image:
    return np.random.default_rng(seed).uniform(low, high, (48, 48, 3)).astype(np.float32)


def half() -> Image:
    mask = np.zeros((48, 48), np.float32)
    mask[:, :24] = 1
    return mask


def test_reinhard_matches_mean_and_deviation_in_lab() -> None:
    predicted, original = picture(1, 0.3, 0.5), picture(2, 0.35, 0.6)
    matched = rgb2lab(COLOR["reinhard"](predicted, original, half())[:, :24])
    wanted = rgb2lab(original[:, :24])
    np.testing.assert_allclose(matched.mean((0, 1)), wanted.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(matched.std((0, 1)), wanted.std((0, 1)), rtol=0.05)


def test_mean_shift_keeps_the_contrast() -> None:
    predicted, original = picture(1, 0.4, 0.45), picture(2, 0.3, 0.7)
    matched = rgb2lab(COLOR["mean"](predicted, original, half())[:, :24])
    np.testing.assert_allclose(matched.mean((0, 1)), rgb2lab(original[:, :24]).mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(matched.std((0, 1)), rgb2lab(predicted[:, :24]).std((0, 1)), rtol=0.15)


def test_noise_of_a_flat_prediction_is_not_amplified() -> None:
    flat = np.full((48, 48, 3), 0.5, np.float32)
    flat[::7] += 0.002
    matched = COLOR["reinhard"](flat, picture(3, 0.1, 0.9), half())
    assert rgb2lab(matched)[..., 0].std() < 1.0


@pytest.mark.parametrize("name", COLOR.names)
@pytest.mark.parametrize("mask", [half(), np.zeros((48, 48), np.float32), np.ones((48, 48), np.float32)])
def test_transfers_return_valid_pictures_without_side_effects(name: str, mask: Mask) -> None:
    given = (picture(4, 0, 1), picture(5, 0, 1), mask.copy())
    before = [array.copy() for array in given]
    matched = COLOR[name](*given)
    assert matched.shape == (48, 48, 3)
    assert matched.dtype == np.float32
    assert np.isfinite(matched).all()
    assert 0 <= matched.min() <= matched.max() <= 1
    for array, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("name", ["reinhard", "mean", "none"])
def test_an_empty_mask_changes_nothing(name: str) -> None:
    predicted = picture(6, 0, 1)
    np.testing.assert_array_equal(COLOR[name](predicted, picture(7, 0, 1), np.zeros((48, 48), np.float32)), predicted)


def test_none_keeps_the_prediction() -> None:
    predicted = picture(6, 0, 1)
    np.testing.assert_array_equal(COLOR["none"](predicted, picture(7, 0, 1), half()), predicted)
