"""Colour transfers: against NumPy, SciPy and scikit-image."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import skimage.color
import torch
from torch import Tensor

from tests.training.augment.conftest import as_array, discs, generator, pictures, pixels
from visagist.training.augment.options import ColorTransfer
from visagist.training.augment.transfer import (
    MIN_VARIANCE,
    SAMPLES,
    TRANSFERS,
    lct,
    mkl,
    random_rotations,
    random_transfer,
    rct,
    sample_colors,
    sliced,
    transfer_colors,
)

SIZE = 48
MODES: tuple[ColorTransfer, ...] = ("rct", "lct", "mkl", "idt", "sot")
Pair = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def pair() -> Pair:
    """Two images and their masks, outside of which everything is green."""
    image, other = pictures(2, SIZE, 1, 0.25, 0.6), pictures(2, SIZE, 2, 0.35, 0.75)
    mask, other_mask = discs(2, SIZE, 0.4), discs(2, SIZE, 0.3)
    return image, mask, torch.where(other_mask > 0, other, torch.tensor([0.0, 1, 0])[:, None, None]), other_mask


def positions(count: int) -> Tensor:
    return (torch.arange(count) + 0.5) / count


def test_rct_agrees_with_scikit_images_lab(pair: Pair) -> None:
    for before, mask, other, other_mask, after in zip(*pair, rct(*pair), strict=True):
        lab, goal = skimage.color.rgb2lab(as_array(before)), skimage.color.rgb2lab(as_array(other))
        own, wanted = lab[mask[0] > 0], goal[other_mask[0] > 0]
        moved = (lab - own.mean(0)) * np.sqrt((wanted.var(0) + 0.1) / (own.var(0) + 0.1)) + wanted.mean(0)
        reference = skimage.color.lab2rgb(moved)
        inside = ((reference > 0) & (reference < 1)).all(-1)
        np.testing.assert_allclose(as_array(after)[inside], reference[inside], atol=2e-3)
        assert inside.mean() > 0.9


def linear_reference(mode: str, before: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    a, b = (np.cov(x.T, bias=True) + MIN_VARIANCE * np.eye(3) for x in (own, wanted))
    root = np.real(scipy.linalg.sqrtm(a))
    if mode == "lct":
        matrix = np.real(scipy.linalg.sqrtm(b)) @ np.linalg.inv(root)
    else:
        matrix = np.linalg.inv(root) @ np.real(scipy.linalg.sqrtm(root @ b @ root)) @ np.linalg.inv(root)
    return (before - own.mean(0)) @ matrix.T + wanted.mean(0)


def gray(image: Tensor) -> Tensor:
    return image.mean(1, keepdim=True).expand(-1, 3, -1, -1)


def constant(image: Tensor) -> Tensor:
    return image.mean((2, 3), keepdim=True).expand_as(image)


@pytest.mark.parametrize("change_other", [torch.clone, gray, constant])
@pytest.mark.parametrize("change", [torch.clone, gray, constant])
@pytest.mark.parametrize("mode", ["lct", "mkl"])
def test_linear_transfers_agree_with_scipy_and_survive_missing_colors(
    mode: str, change: Callable[[Tensor], Tensor], change_other: Callable[[Tensor], Tensor], pair: Pair
) -> None:
    image, mask, other, other_mask = change(pair[0]), pair[1], change_other(pair[2]), pair[3]
    moved = TRANSFERS[mode](image, mask, other, other_mask)
    for before, inside, goal, goal_inside, after in zip(image, mask, other, other_mask, moved, strict=True):
        reference = linear_reference(mode, pixels(before), pixels(before, inside), pixels(goal, goal_inside))
        np.testing.assert_allclose(pixels(after), reference, atol=1e-4)


def slow_sliced(own: np.ndarray, wanted: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Equally many `(N, 3)` colours of both, moved rank by rank."""
    for bases in rotations:
        ways = np.zeros_like(own)
        for axis in bases.reshape(-1, 3):
            order = np.argsort(own @ axis)
            ways[order] += (np.sort(wanted @ axis) - np.sort(own @ axis))[:, None] * axis
        own = own + ways / len(bases)
    return own


@pytest.mark.parametrize("bases", [1, 3])
def test_sliced_transfers_agree_with_a_slow_loop(bases: int) -> None:
    image, other, whole = pictures(1, 32, 1, 0.2, 0.6), pictures(1, 32, 2, 0.4, 0.8), torch.ones(1, 1, 32, 32)
    rotations = random_rotations(4, bases, generator())
    moved = sliced(image, whole, other, whole, positions(32 * 32), rotations)
    error = np.abs(pixels(moved[0]) - slow_sliced(pixels(image[0]), pixels(other[0]), rotations.double().numpy()))
    assert error.max() < 0.02
    assert error.mean() < 0.001


@pytest.mark.parametrize(("rounds", "bases"), [(10, 1), (6, 3)])
def test_sliced_transfers_match_distributions_better_than_linear_ones(rounds: int, bases: int, pair: Pair) -> None:
    moved = sliced(*pair, positions(SAMPLES), random_rotations(rounds, bases, generator()))
    axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.577, 0.577, 0.577], [0.707, -0.707, 0]])
    for before, mask, other, other_mask, after, linear in zip(*pair, moved, mkl(*pair), strict=True):
        wanted = pixels(other, other_mask)
        distances = [
            [scipy.stats.wasserstein_distance(pixels(x, mask) @ axis, wanted @ axis) for axis in axes]
            for x in (after, linear, before)
        ]
        sliced_mean, linear_mean, before_mean = np.mean(distances, 1)
        assert max(distances[0]) < 0.006
        assert sliced_mean < min(linear_mean, 0.1 * before_mean)


@pytest.mark.parametrize(("function", "tolerance"), [(rct, 0.02), (lct, 0.002), (mkl, 0.002)])
def test_subsampling_large_images_hardly_changes_statistics(function: Callable[..., Tensor], tolerance: float) -> None:
    image, other, mask = pictures(1, 128, 1, 0.25, 0.6), pictures(1, 128, 2, 0.4, 0.7), discs(1, 128)
    got, wanted = pixels(function(image, mask, other, mask)[0], mask[0]), pixels(other[0], mask[0])
    np.testing.assert_allclose(got.mean(0), wanted.mean(0), atol=tolerance)


def test_rotations_are_uniformly_distributed() -> None:
    r = random_rotations(4000, 1, generator())[:, 0]
    torch.testing.assert_close(r @ r.mT, torch.eye(3).expand_as(r), atol=1e-5, rtol=0)
    assert r.mean(0).abs().max() < 0.05
    assert (torch.linalg.det(r) > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_samples_come_from_all_of_the_hull_and_only_from_there() -> None:
    index = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 3:6] = 1
    inside = set(index[0, 0][mask[0, 0] > 0].tolist())
    assert set(sample_colors(index, mask, positions(9))[0, 0].tolist()) == inside
    assert set(sample_colors(index, mask, torch.tensor([0.0, 0.9999999, 1.0]))[0, 1].tolist()) <= inside


def test_partners_are_faces_of_the_next_identity() -> None:
    identities, pairs = torch.tensor([0] * 5 + [1] * 3 + [2] * 4), set[tuple[int, int]]()
    for seed in range(200):
        chosen = torch.rand(12, generator=generator(seed)) < 0.7
        transfer = random_transfer("rct", chosen, (5, 3, 4), generator(seed))
        assert transfer is not None
        faces, partners = transfer
        assert torch.equal(faces, chosen.nonzero()[:, 0])
        assert torch.equal(identities[partners], (identities[faces] + 1) % 3)
        pairs |= set(zip(faces.tolist(), partners.tolist(), strict=True))
    assert len(pairs) == 5 * 3 + 3 * 4 + 4 * 5  # all of them, sooner or later
    assert random_transfer("rct", torch.zeros(12).bool(), (5, 3, 4), generator()) is None


@pytest.mark.parametrize("mode", MODES)
def test_chosen_faces_get_the_colors_of_their_partners(mode: ColorTransfer) -> None:
    seen = torch.cat([pictures(2, SIZE, 1, 0.2, 0.5), pictures(2, SIZE, 2, 0.5, 0.8)])
    hull = discs(4, SIZE)
    transfer = random_transfer(mode, torch.tensor([False, True, True, False]), (2, 2), generator())
    assert transfer is not None
    changed = transfer_colors(seen, hull, mode, *transfer)
    assert torch.equal(changed[[0, 3]], seen[[0, 3]])
    for face, partner in zip(*transfer[:2], strict=True):
        got, wanted = pixels(changed[face], hull[0]).mean(0), pixels(seen[partner], hull[0]).mean(0)
        np.testing.assert_allclose(got, wanted, atol=0.02)
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_faces_of_one_color_change_and_faces_without_a_hull_do_not(mode: ColorTransfer) -> None:
    seen = torch.stack([torch.full((3, 32, 32), 0.3), torch.full((3, 32, 32), 0.7), pictures(1, 32)[0]])
    hull = discs(3, 32)
    hull[2] = 0
    transfer = random_transfer(mode, torch.ones(3).bool(), (1, 1, 1), generator())
    assert transfer is not None
    changed = transfer_colors(seen, hull, mode, *transfer)
    torch.testing.assert_close(changed[0], seen[1], atol=2e-3, rtol=0)
    assert torch.equal(changed[1:], seen[1:])  # neither the face's nor the partner's hull may be empty
