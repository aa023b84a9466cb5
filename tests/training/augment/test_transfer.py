"""Colour transfers: against NumPy and SciPy, and by what they promise."""

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
    FLOOR,
    MAPS,
    SAMPLE,
    lct,
    mkl,
    random_rotations,
    random_transfer,
    rct,
    recolored,
    roots,
    sampled,
    singular,
    sliced,
)

SIZE = 48
MODES: tuple[ColorTransfer, ...] = ("rct", "lct", "mkl", "idt", "sot")
STRAIGHT = (rct, lct, mkl)
CPU = torch.device("cpu")


@pytest.fixture
def pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two pictures and the masks of both; what lies outside has another colour."""
    picture, other = pictures(2, SIZE, 1, 0.25, 0.6), pictures(2, SIZE, 2, 0.35, 0.75)
    mask, other_mask = discs(2, SIZE, 0.4), discs(2, SIZE, 0.3)
    return picture, mask, torch.where(other_mask > 0, other, torch.tensor([0.0, 1, 0])[:, None, None]), other_mask


def places(count: int) -> Tensor:
    return (torch.arange(count) + 0.5) / count


def test_rct_is_reinhards_in_lab(pair: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    for before, mask, other, other_mask, after in zip(*pair, rct(*pair), strict=True):
        lab, goal = skimage.color.rgb2lab(as_array(before)), skimage.color.rgb2lab(as_array(other))
        own, wanted = lab[mask[0] > 0], goal[other_mask[0] > 0]
        moved = (lab - own.mean(0)) * np.sqrt((wanted.var(0) + 0.1) / (own.var(0) + 0.1)) + wanted.mean(0)
        reference = skimage.color.lab2rgb(moved)
        inside = ((reference > 0) & (reference < 1)).all(-1)
        np.testing.assert_allclose(as_array(after)[inside], reference[inside], atol=2e-3)
        assert inside.mean() > 0.9


def linear_reference(kind: str, before: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    a, b = (np.cov(x.T, bias=True) + FLOOR * np.eye(3) for x in (own, wanted))
    root = np.real(scipy.linalg.sqrtm(a))
    if kind == "lct":
        matrix = np.real(scipy.linalg.sqrtm(b)) @ np.linalg.inv(root)
    else:
        between = np.real(scipy.linalg.sqrtm(root @ b @ root))
        matrix = np.linalg.inv(root) @ between @ np.linalg.inv(root)
    return (before - own.mean(0)) @ matrix.T + wanted.mean(0)


@pytest.mark.parametrize("kind", ["lct", "mkl"])
def test_linear_maps_are_those_of_scipy(kind: str, pair: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    for before, mask, other, other_mask, after in zip(*pair, MAPS[kind](*pair), strict=True):
        reference = linear_reference(kind, pixels(before), pixels(before, mask), pixels(other, other_mask))
        np.testing.assert_allclose(pixels(after), reference, atol=2e-3)


def test_mkl_moves_colors_less_than_lct(pair: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    picture, mask = pair[:2]
    costs = [(((f(*pair) - picture) ** 2) * mask).sum((1, 2, 3)) for f in (mkl, lct)]
    assert (costs[0] <= costs[1] * 1.001).all()


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
def test_sliced_maps_are_those_of_a_slow_loop(bases: int) -> None:
    picture, other, whole = pictures(1, 32, 1, 0.2, 0.6), pictures(1, 32, 2, 0.4, 0.8), torch.ones(1, 1, 32, 32)
    rotations = random_rotations(4, bases, generator())
    moved = sliced(picture, whole, other, whole, places(32 * 32), rotations)
    reference = slow_sliced(pixels(picture[0]), pixels(other[0]), rotations.double().numpy())
    error = np.abs(pixels(moved[0]) - reference)
    assert error.max() < 0.02
    assert error.mean() < 0.001


@pytest.mark.parametrize("mode", ["rct", "lct", "mkl"])
def test_means_and_deviations_match_afterwards(mode: str, pair: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    for mask, other, other_mask, after in zip(*pair[1:], MAPS[mode](*pair), strict=True):
        got, wanted = pixels(after, mask), pixels(other, other_mask)
        if mode == "rct":
            got, wanted = (skimage.color.rgb2lab(x) for x in (got, wanted))
            np.testing.assert_allclose(got.mean(0), wanted.mean(0), atol=0.3)
            np.testing.assert_allclose(got.std(0), wanted.std(0), rtol=0.03)
        else:
            np.testing.assert_allclose(got.mean(0), wanted.mean(0), atol=1e-4)
            np.testing.assert_allclose(np.cov(got.T), np.cov(wanted.T), atol=1e-4)


@pytest.mark.parametrize(("mode", "rounds", "bases"), [("idt", 10, 1), ("sot", 6, 3)])
def test_distributions_match_afterwards(
    mode: str, rounds: int, bases: int, pair: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    """Along axes that were not among the random ones, and better than a straight map can."""
    moved = sliced(*pair, places(SAMPLE), random_rotations(rounds, bases, generator()))
    axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.577, 0.577, 0.577], [0.707, -0.707, 0]])
    for before, mask, other, other_mask, after, straight in zip(*pair, moved, mkl(*pair), strict=True):
        own, got, linear = (pixels(x, mask) for x in (before, after, straight))
        wanted = pixels(other, other_mask)
        distances = np.array(
            [[scipy.stats.wasserstein_distance(x @ axis, wanted @ axis) for axis in axes] for x in (own, linear, got)]
        )
        assert (distances[2] < 0.006).all()
        assert distances[2].mean() < 0.1 * distances[0].mean()
        assert distances[2].mean() < distances[1].mean()
        for channel in range(3):
            levels = np.linspace(0.02, 0.98, 25)
            quantiles, goal = (np.quantile(x[:, channel], levels) for x in (got, wanted))
            np.testing.assert_allclose(quantiles, goal, atol=0.02)


def test_what_lies_outside_the_other_hull_does_not_count(pair: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    picture, mask, other, other_mask = pair
    red = torch.where(other_mask > 0, other, torch.tensor([1.0, 0, 0])[:, None, None])
    for function in STRAIGHT:
        torch.testing.assert_close(function(picture, mask, red, other_mask), function(*pair))
    rotations = random_rotations(2, 1, generator())
    torch.testing.assert_close(
        sliced(picture, mask, red, other_mask, places(256), rotations), sliced(*pair, places(256), rotations)
    )


def test_large_pictures_are_looked_at_in_steps() -> None:
    """From every second pixel of a 128 px face the statistics are the same, nearly."""
    picture, other, mask = pictures(1, 128, 1, 0.25, 0.6), pictures(1, 128, 2, 0.4, 0.7), discs(1, 128)
    for function in STRAIGHT:
        got, wanted = pixels(function(picture, mask, other, mask)[0], mask[0]), pixels(other[0], mask[0])
        np.testing.assert_allclose(got.mean(0), wanted.mean(0), atol=0.02 if function is rct else 0.002)


def test_singular_values_and_vectors_are_those_of_lapack() -> None:
    x = torch.randn(200, 3, 5, generator=generator()) * torch.tensor([1, 0.1, 0.01])[:, None]
    special = torch.stack([torch.eye(3), torch.zeros(3, 3), torch.ones(3, 3), torch.diag(torch.tensor([1, 1e-5, 0]))])
    matrices = torch.cat([x @ x.mT, x[..., :3], special])
    values, vectors = singular(matrices)
    reference = np.linalg.svd(matrices.double().numpy(), compute_uv=False)[:, ::-1]
    np.testing.assert_allclose(np.sort(values.numpy()), reference, atol=1e-6 * reference.max())
    torch.testing.assert_close(vectors @ vectors.mT, torch.eye(3).expand_as(matrices), atol=1e-5, rtol=0)
    gram = (matrices @ vectors).mT @ (matrices @ vectors)
    torch.testing.assert_close(gram, torch.diag_embed(values**2), atol=1e-5 * gram.max().item(), rtol=1e-5)


def test_roots_are_roots() -> None:
    x = torch.randn(20, 3, 5, generator=generator()) * 0.2
    root, inverse = roots(x @ x.mT)
    torch.testing.assert_close(root @ root, x @ x.mT + FLOOR * torch.eye(3), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(root @ inverse, torch.eye(3).expand(20, 3, 3), atol=1e-4, rtol=0)


def test_rotations_prefer_no_direction() -> None:
    r = random_rotations(4000, 1, generator())[:, 0]
    torch.testing.assert_close(r @ r.mT, torch.eye(3).expand_as(r), atol=1e-5, rtol=0)
    assert r.mean(0).abs().max() < 0.05
    assert (torch.linalg.det(r) > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_sample_comes_from_all_of_the_hull_and_only_from_there() -> None:
    place = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 3:6] = 1
    inside = set(place[0, 0][mask[0, 0] > 0].tolist())
    assert set(sampled(place, mask, places(9))[0, 0].tolist()) == inside
    assert set(sampled(place, mask, torch.tensor([0.0, 0.9999999, 1.0]))[0, 1].tolist()) <= inside


@pytest.mark.parametrize("mode", MODES)
def test_partners_are_faces_of_the_next_person(mode: ColorTransfer) -> None:
    people, pairs = torch.tensor([0] * 5 + [1] * 3 + [2] * 4), set[tuple[int, int]]()
    for seed in range(200):
        chosen = torch.rand(12, generator=generator(seed)) < 0.7
        transfer = random_transfer(mode, chosen, (5, 3, 4), generator(seed), CPU)
        assert transfer is not None
        assert torch.equal(transfer.faces, chosen.nonzero()[:, 0])
        assert torch.equal(people[transfer.partners], (people[transfer.faces] + 1) % 3)
        pairs |= set(zip(transfer.faces.tolist(), transfer.partners.tolist(), strict=True))
    assert len(pairs) == 5 * 3 + 3 * 4 + 4 * 5  # all of them, sooner or later
    assert random_transfer(mode, torch.zeros(12).bool(), (5, 3, 4), generator(), CPU) is None


@pytest.mark.parametrize("mode", MODES)
def test_chosen_faces_get_the_colors_of_their_partners(mode: ColorTransfer) -> None:
    seen = torch.cat([pictures(2, SIZE, 1, 0.2, 0.5), pictures(2, SIZE, 2, 0.5, 0.8)])
    hull = discs(4, SIZE)
    transfer = random_transfer(mode, torch.tensor([False, True, True, False]), (2, 2), generator(), CPU)
    assert transfer is not None
    changed = recolored(seen, hull, transfer)
    assert torch.equal(changed[[0, 3]], seen[[0, 3]])
    for face, partner in zip(transfer.faces, transfer.partners, strict=True):
        got, wanted = pixels(changed[face], hull[0]).mean(0), pixels(seen[partner], hull[0]).mean(0)
        np.testing.assert_allclose(got, wanted, atol=0.02)
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_faces_without_a_hull_and_of_one_color_stay_numbers(mode: ColorTransfer) -> None:
    seen = torch.stack([torch.full((3, 32, 32), 0.3), torch.full((3, 32, 32), 0.7), pictures(1, 32)[0]])
    hull = discs(3, 32)
    hull[2] = 0
    transfer = random_transfer(mode, torch.ones(3).bool(), (1, 1, 1), generator(), CPU)
    assert transfer is not None
    changed = recolored(seen, hull, transfer)
    torch.testing.assert_close(changed[0], seen[1], atol=2e-3, rtol=0)
    assert torch.equal(changed[1:], seen[1:])  # one has no hull itself, the other no partner with one
