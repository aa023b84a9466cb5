"""Properties that all masks share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visagist.merging.masks import MASKS, Mask, MaskInput
from visagist.merging.masks.shape import feather

SIDE = 128


def square(low: int, high: int) -> Mask:
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[low:high, low:high] = 1
    return mask


def face(hull: Mask, learned: Mask, erode: float = 0.0) -> MaskInput:
    """A face with random pictures."""
    rng = np.random.default_rng(0)
    predicted, original = rng.uniform(0, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    return MaskInput(hull, learned, predicted, original, erode)


@pytest.mark.parametrize("name", MASKS.names)
@given(st.floats(-20, 40), st.floats(0, 40))
@settings(max_examples=20)
def test_every_mask_is_zero_at_the_border_once_feathered(name: str, erode: float, width: float) -> None:
    given_face = face(np.ones((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32), erode)
    mask = feather(MASKS[name](given_face), width)
    assert mask.shape == (SIDE, SIDE)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0
    assert given_face.hull.min() == given_face.learned.min() == 1


@pytest.mark.parametrize("name", MASKS.names)
def test_more_erosion_is_a_smaller_mask(name: str) -> None:
    hull, learned = square(30, 100), square(40, 110)
    sizes = [MASKS[name](face(hull, learned, erode)).sum() for erode in (-5, 0, 5, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_masks_cover_the_expected_region() -> None:
    hull, learned = square(30, 100), square(40, 110)
    covered = {name: MASKS[name](face(hull, learned)) for name in ("hull", "learned", "combined")}
    np.testing.assert_array_equal(covered["hull"], hull)
    np.testing.assert_array_equal(covered["learned"], learned)
    np.testing.assert_array_equal(covered["combined"], hull * learned)


def test_a_wider_hull_stays_inside_the_learned_mask() -> None:
    learned = square(40, 90)
    wide = MASKS["combined"](face(square(35, 95), learned, erode=-10))
    assert wide[learned == 0].max() == 0


def test_feather_softens_towards_the_inside() -> None:
    hull = square(30, 100)
    mask = feather(hull, 10)
    assert mask[hull == 0].max() < 0.05
    assert mask[65, 65] == 1
    assert ((mask > 0.1) & (mask < 0.9)).mean() > 0.05
