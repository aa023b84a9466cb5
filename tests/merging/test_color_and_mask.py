"""Colour transfer against scikit-image's Lab; masks by their promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from visagist.merging.color import TRANSFERS, mean_shift, reinhard, unchanged
from visagist.merging.mask import blend_mask, without_strays


def picture(seed: int, low: float, high: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, (48, 48, 3)).astype(np.float32)


def half() -> np.ndarray:
    mask = np.zeros((48, 48), np.float32)
    mask[:, :24] = 1
    return mask


def test_reinhard_gives_mean_and_deviation_in_lab() -> None:
    predicted, original = picture(1, 0.3, 0.5), picture(2, 0.35, 0.6)
    matched = rgb2lab(reinhard(predicted, original, half())[:, :24])
    wanted = rgb2lab(original[:, :24])
    np.testing.assert_allclose(matched.mean((0, 1)), wanted.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(matched.std((0, 1)), wanted.std((0, 1)), rtol=0.05)


def test_mean_shift_keeps_the_contrast() -> None:
    predicted, original = picture(1, 0.4, 0.45), picture(2, 0.3, 0.7)
    matched = rgb2lab(mean_shift(predicted, original, half())[:, :24])
    np.testing.assert_allclose(matched.mean((0, 1)), rgb2lab(original[:, :24]).mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(matched.std((0, 1)), rgb2lab(predicted[:, :24]).std((0, 1)), rtol=0.15)


def test_a_flat_prediction_is_not_blown_up() -> None:
    flat = np.full((48, 48, 3), 0.5, np.float32)
    flat[::7] += 0.002
    matched = reinhard(flat, picture(3, 0.1, 0.9), half())
    assert rgb2lab(matched)[..., 0].std() < 1.0


@pytest.mark.parametrize("name", TRANSFERS)
def test_range_and_shape(name: str) -> None:
    matched = TRANSFERS[name](picture(4, 0, 1), picture(5, 0, 1), half())
    assert matched.shape == (48, 48, 3)
    assert 0 <= matched.min() <= matched.max() <= 1


def test_an_empty_mask_changes_nothing() -> None:
    predicted = picture(6, 0, 1)
    nothing = np.zeros((48, 48), np.float32)
    assert reinhard(predicted, picture(7, 0, 1), nothing) is predicted
    assert unchanged(predicted, predicted, nothing) is predicted


@given(st.floats(-20, 40), st.floats(0, 40))
@settings(max_examples=40)
def test_mask_is_soft_inside_and_zero_at_the_border(erode: float, feather: float) -> None:
    mask = blend_mask(np.ones((64, 64), np.float32), np.ones((64, 64), np.float32), erode, feather)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0


def test_mask_stays_within_the_hull() -> None:
    hull = np.zeros((128, 128), np.float32)
    hull[30:100, 30:100] = 1
    mask = blend_mask(hull, np.ones_like(hull), erode=0, feather=10)
    assert mask[hull == 0].max() < 0.05
    assert mask[65, 65] == 1


def test_more_erosion_is_a_smaller_mask() -> None:
    hull = np.zeros((128, 128), np.float32)
    hull[30:100, 30:100] = 1
    sizes = [blend_mask(hull, np.ones_like(hull), erode, 5).sum() for erode in (-5, 0, 5, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


SKIN, BLUE, BEARD = (0.75, 0.6, 0.5), (0.1, 0.5, 0.8), (0.25, 0.18, 0.15)


def face(**patches: tuple[slice, slice, tuple[float, float, float]]) -> np.ndarray:
    """`(128, 128, 3)` of skin, with patches of other colours."""
    made = np.full((128, 128, 3), SKIN, np.float32)
    for rows, columns, color in patches.values():
        made[rows, columns] = color
    return made


def disc() -> np.ndarray:
    y, x = np.mgrid[:128, :128]
    return (np.hypot(x - 64, y - 64) < 50).astype(np.float32)


def test_background_beside_the_cheek_is_left_to_the_frame() -> None:
    outline = disc()
    predicted = face(background=(slice(0, 128), slice(106, 128), BLUE))  # 8 px of it inside the outline
    mask = without_strays(outline, predicted, face(), outline, eyes=50.0)
    assert mask[75:90, 110].max() < 0.1
    assert np.abs(mask - outline)[75:90, :100].max() < 0.05, "the rest stays"
    assert (mask <= outline).all()


def test_above_the_eyes_nothing_is_withdrawn() -> None:
    outline = disc()
    predicted = face(hair=(slice(0, 128), slice(106, 128), BEARD))
    mask = without_strays(outline, predicted, face(), outline, eyes=64.0)
    assert np.array_equal(mask[:60], outline[:60])


def test_a_beard_goes_on_to_the_rim() -> None:
    outline = disc()
    predicted = face(beard=(slice(80, 128), slice(0, 128), BEARD))
    mask = without_strays(outline, predicted, face(), outline, eyes=45.0)
    assert mask[95:110, 40:88][outline[95:110, 40:88] > 0].min() > 0.9


def test_what_the_frame_shows_too_is_no_stray() -> None:
    outline = disc()
    both = face(background=(slice(0, 128), slice(106, 128), BLUE))
    assert without_strays(outline, both, both, outline, eyes=50.0)[75:83, 110].min() > 0.9
