"""Masks as crops carry them."""

import numpy as np
import pytest

from visagist.faces import crop_matrix
from visagist.masks import pack, unpack, visible_face
from visagist.masks.stored import COVERAGE, MAX_TEXT, SIDE


def classes(side: int) -> np.ndarray:
    """A face left of the middle, hair right of it, an occluder in the lowest eighth."""
    found = np.zeros((side, side, 4), np.float32)
    found[:, : side // 2, 0], found[:, side // 2 :, 1] = 1, 1
    found[-side // 8 :] = (0, 0, 1, 0)
    return found


def test_masks_survive_packing() -> None:
    text = pack(classes(256))
    assert len(text) < 2000
    np.testing.assert_allclose(unpack(text), classes(SIDE), atol=0.04)


def test_any_mask_fits_into_a_record() -> None:
    noise = np.random.default_rng(0).dirichlet(np.ones(4), (SIDE, SIDE)).astype(np.float32)
    text = pack(noise)
    assert len(text) < MAX_TEXT
    np.testing.assert_allclose(unpack(text), noise, atol=0.11)


@pytest.mark.parametrize("coverage", ["full", "whole", "head"])
def test_a_mask_lies_where_it_was_found(coverage: str) -> None:
    alignment = np.eye(2, 3)
    matrix = crop_matrix(alignment, coverage, 200)  # pyright: ignore[reportArgumentType]
    seen = visible_face(classes(SIDE), alignment, matrix, 200)
    own = crop_matrix(alignment, COVERAGE, SIDE)
    for x, y, expected in ((-0.3, 0.3, 1.0), (0.3, 0.3, 0.0), (-0.1, 0.5, 1.0)):
        column, row = matrix @ (x, y, 1)
        there = own @ (x, y, 1)
        assert there.min() >= 0
        assert there.max() < SIDE * 7 / 8
        assert seen[round(row), round(column)] == pytest.approx(expected, abs=0.05)
    if coverage == "head":
        assert seen[0, 0] == 0  # beyond what is known
