"""Whole batches: what the network sees, and what it should predict."""

import pytest
import torch
from torch import Tensor

from tests.training.augment.conftest import discs, generator, pictures
from visagist.training.augment import Augmentation, augment_batch

OFF = {"rotate": 0, "scale": 0, "shift": 0, "warp": 0, "color": 0, "palette": 0}
PALETTES = [
    torch.tensor([[0.6, 0.5, 0.4], [0.2, 0.15, 0.1]]),
    torch.tensor([[0.3, 0.35, 0.4], [0.1, 0.12, 0.2]]),
    torch.tensor([[0.5, 0.4, 0.3], [0.15, 0.1, 0.12]]),
]
WITH_A_CHANCE = ("clahe", "blur", "motion", "rescale", "noise", "jpeg")
EVERYTHING = {
    "warp_grids": (3, 5),
    "flip": True,
    "hue": 10,
    "saturation": 0.2,
    "value": 0.2,
    "lightness": 5,
    "tint": 5,
    "color_transfer": "idt",
    **{f"{name}_chance": 0.8 for name in ("color_transfer", *WITH_A_CHANCE)},
}


def planes(counts: tuple[int, ...], side: int = 40) -> Tensor:
    """`(B, 5, S, S)`: RGB in colours of its own for each identity, hull, importance."""
    rgb = torch.cat([pictures(n, side, i, 0.1 + 0.2 * i, 0.6 + 0.2 * i) for i, n in enumerate(counts)])
    return torch.cat([rgb, discs(sum(counts), side), pictures(sum(counts), side, 9)[:, :1]], 1)


def augmented(
    crops: Tensor,
    changes: dict[str, object],
    counts: tuple[int, ...] = (4, 4),
    *,
    size: int = 32,
    warp: float = 1.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    options = Augmentation.model_validate({**OFF, **changes})
    margin = crops.shape[-1] / size
    return augment_batch(crops, options, counts, PALETTES[: len(counts)], size, margin, warp, generator(seed))


@pytest.mark.parametrize(
    ("changes", "gentle"),
    [
        ({"warp": 0.05}, {}),
        ({"color": 0.2}, {}),
        ({"palette": 1}, {}),
        ({"hue": 60}, {}),
        ({"saturation": 0.8}, {}),
        ({"value": 0.4}, {}),
        ({"lightness": 20}, {}),
        ({"tint": 20}, {}),
        *(({"color_transfer": mode}, {"color_transfer_chance": 0}) for mode in ("rct", "lct", "mkl", "idt", "sot")),
        ({"clahe_chance": 1, "clahe_clip": 20}, {"clahe_clip": 1}),
        ({"clahe_chance": 1, "clahe_tiles": 8}, {"clahe_tiles": 1}),
        ({"blur_chance": 1, "blur": 0.05}, {"blur": 0}),
        ({"motion_chance": 1, "motion": 0.2}, {"motion": 0}),
        ({"rescale_chance": 1, "rescale": 0.1}, {"rescale": 1}),
        ({"noise_chance": 1, "noise": 0.2}, {"noise": 0}),
        ({"jpeg_chance": 1, "jpeg_quality": 1}, {"jpeg_quality": 100}),
    ],
    ids=lambda changes: "-".join(str(x) for pair in changes.items() for x in pair),
)
def test_each_option_changes_the_input_by_its_strength_and_not_the_truth(
    changes: dict[str, object], gentle: dict[str, object]
) -> None:
    crops = planes((4, 4))
    plain = crops[..., 4:36, 4:36]
    seen, truth = augmented(crops, changes)
    torch.testing.assert_close(truth, plain)
    assert seen.min() >= 0
    assert seen.max() <= 1
    weaker, _ = augmented(crops, {**changes, **gentle} if gentle else {})
    assert (seen - plain[:, :3]).abs().mean() > (weaker - plain[:, :3]).abs().mean() + 0.005


@pytest.mark.parametrize("name", WITH_A_CHANCE)
def test_a_chance_is_the_fraction_of_faces_that_change(name: str) -> None:
    crops = planes((150, 150), 16)
    seen, truth = augmented(crops, {f"{name}_chance": 0.3, "blur": 0.05, "motion": 0.2}, (150, 150), size=16)
    changed = (seen - truth[:, :3]).abs().amax((1, 2, 3)) > 1e-4
    assert 0.15 < changed.float().mean() < 0.4  # some strengths are next to nothing


@pytest.mark.parametrize(("flip", "mirrored"), [(False, ()), ("source", (0,)), ("target", (1,)), (True, (0, 1, 2))])
def test_half_of_the_chosen_identities_faces_are_mirrored(flip: bool | str, mirrored: tuple[int, ...]) -> None:
    crops = planes((100, 100, 100), 4)
    _, truth = augmented(crops, {"flip": flip}, (100, 100, 100), size=4)
    turned = torch.isclose(truth, crops.flip(3), atol=1e-5).all(3).all(2).all(1).split(100)
    assert [30 < part.sum() < 70 for part in turned] == [i in mirrored for i in range(3)]
    assert not any(part.any() for i, part in enumerate(turned) if i not in mirrored)


def test_the_warp_is_scaled_by_its_factor() -> None:
    crops = planes((2, 2))
    seen, truth = augmented(crops, {"warp": 0.02}, (2, 2), warp=0)
    torch.testing.assert_close(seen, truth[:, :3])
    half, _ = augmented(crops, {"warp": 0.02}, (2, 2), warp=0.5)
    weaker, _ = augmented(crops, {"warp": 0.01}, (2, 2))
    torch.testing.assert_close(half, weaker)


def test_faces_with_transferred_colors_do_not_approach_the_palette_too() -> None:
    crops, changes = planes((50, 50)), {"color_transfer": "mkl", "color_transfer_chance": 0.5}
    alone, truth = augmented(crops, {**changes, "palette": 0}, (50, 50))
    both, _ = augmented(crops, {**changes, "palette": 1}, (50, 50))
    transferred = (alone - truth[:, :3]).abs().amax((1, 2, 3)) > 1e-3
    assert 30 < transferred.sum() < 70
    assert torch.equal((both == alone).all(3).all(2).all(1), transferred)


@pytest.mark.parametrize("mode", ["rct", "lct", "mkl", "idt", "sot"])
def test_everything_at_once_gives_images_and_the_same_ones_for_a_seed(mode: str) -> None:
    counts = (4, 3, 2)
    changes = {**EVERYTHING, "color_transfer": mode}
    (seen, truth), (again, _), (other, _) = (augmented(planes(counts), changes, counts, seed=s) for s in (5, 5, 6))
    assert (seen.shape, truth.shape) == ((9, 3, 32, 32), (9, 5, 32, 32))
    assert seen.dtype == truth.dtype == torch.float32
    assert 0 <= seen.min() <= seen.max() <= 1  # not NaN
    assert torch.equal(seen, again)
    assert not torch.equal(seen, other)


def test_options_of_what_is_off_draw_nothing() -> None:
    """Otherwise an option could not be compared with a run without it."""
    off = {"clahe_clip": 9, "clahe_tiles": 2, "blur": 0.03, "noise": 0.2, "jpeg_quality": 3, "rescale": 0.2}
    generators = generator(), generator()
    for g, changes in zip(generators, ({}, off), strict=True):
        augment_batch(planes((4, 4)), Augmentation.model_validate(changes), (4, 4), PALETTES[:2], 32, 1.25, 1.0, g)
    assert torch.equal(*(g.get_state() for g in generators))


def test_no_value_is_read_back_from_the_device() -> None:
    """On meta tensors that would fail; on a GPU it would wait."""
    seen, truth = augmented(planes((4, 4)).to("meta"), EVERYTHING)
    assert (seen.shape, truth.shape) == ((8, 3, 32, 32), (8, 5, 32, 32))
