"""Whole batches: what is seen, what is drawn, and what the defaults have always been."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.training.augment.conftest import discs, generator, pictures
from visagist.training.augment import Augmentation, Draws, Palette, random_draws, vary

NONE = {"rotate": 0, "scale": 0, "shift": 0, "warp": 0, "color": 0, "palette": 0}
SOURCE = Palette(torch.tensor([0.6, 0.5, 0.4]), torch.tensor([0.2, 0.15, 0.1]))
CPU = torch.device("cpu")
TARGET = Palette(torch.tensor([0.3, 0.35, 0.4]), torch.tensor([0.1, 0.12, 0.2]))
ANNA = Palette(torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.15, 0.1, 0.12]))
PALETTES = [SOURCE, TARGET, ANNA]
EVERYTHING = {
    "warp_grids": (3, 5),
    "flip": True,
    "hue": 10,
    "saturation": 0.2,
    "value": 0.2,
    "lightness": 5,
    "tint": 5,
    "color_transfer": "idt",
    **{f"{name}_chance": 0.8 for name in ("color_transfer", "clahe", "blur", "motion", "rescale", "noise", "jpeg")},
}


def planes(counts: tuple[int, ...], side: int = 40) -> Tensor:
    """`(B, 5, S, S)`: RGB, each person in colours of its own, hull, importance."""
    rgb = torch.cat([pictures(n, side, i, 0.1 + 0.2 * i, 0.6 + 0.2 * i) for i, n in enumerate(counts)])
    return torch.cat([rgb, discs(sum(counts), side), pictures(sum(counts), side, 9)[:, :1]], 1)


def draw(changes: dict[str, object], counts: tuple[int, ...] = (4, 4), size: int = 32, seed: int = 0) -> Draws:
    augmentation = Augmentation.model_validate({**NONE, **changes})
    return random_draws(augmentation, counts, PALETTES[: len(counts)], size, 1.0, generator(seed), CPU)


def old_batch(crops: Tensor, counts: tuple[int, ...], size: int, seed: int) -> tuple[Tensor, Tensor]:
    """What visagist 0.1.0 made of a batch: the formulas of its first trainings, in their order."""
    g, count = generator(seed), sum(counts)
    gains, offsets = [], []
    palettes = PALETTES[: len(counts)]
    for own, other, n in zip(palettes, [*palettes[1:], palettes[0]], counts, strict=True):
        way = torch.rand(n, 1, generator=g) * 0.5
        jitter = torch.randn(n, 2, 3, generator=g) * 0.05
        common = torch.randn(n, 2, 1, generator=g) * 0.05
        gain, offset = (0.5 * jitter + common).unbind(1)
        gain = (other.deviation / own.deviation) ** way * torch.exp(gain)
        mean = own.mean + way * (other.mean - own.mean) + offset
        gains.append(gain[..., None, None])
        offsets.append((mean - gain * own.mean)[..., None, None])
    uniform = torch.rand(count, 5, generator=g) * 2 - 1
    angle, scale = uniform[:, 0] * math.radians(3.0), 1.02 ** uniform[:, 1]
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    shift = uniform[:, 3:] * 2 * 0.01
    similarity = torch.stack(
        [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1
    )
    control = torch.randn(count, 2, 5, 5, generator=g) * 2 * 0.014
    rows = torch.eye(5)[:, None, None].expand(-1, 1, 2, -1)
    smooth = F.interpolate(rows, (2, size), mode="bicubic", align_corners=True)[:, 0, 0].T
    warp = torch.einsum("yi,bkij,xj->byxk", smooth, control, smooth)
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    base = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    turn, moved = similarity[:, :, :2], similarity[:, None, None, :, 2]
    plain = torch.einsum("bij,yxj->byxi", turn, base) + moved
    warped = torch.einsum("bij,byxj->byxi", turn, base + warp) + moved
    seen = F.grid_sample(crops[:, :3], warped / 1.25, padding_mode="border", align_corners=False)
    truth = F.grid_sample(crops, plain / 1.25, padding_mode="border", align_corners=False)
    return (seen * torch.cat(gains) + torch.cat(offsets)).clamp(0, 1), truth


@pytest.mark.parametrize("counts", [(5, 4), (1, 1), (3, 3, 2)])
def test_the_defaults_are_to_the_bit_what_they_were(counts: tuple[int, ...]) -> None:
    crops = planes(counts).contiguous(memory_format=torch.channels_last)
    draws = random_draws(Augmentation(), counts, PALETTES[: len(counts)], 32, 1.0, generator(7), CPU)
    seen, truth = vary(crops, draws, 1.25)
    old_seen, old_truth = old_batch(crops, counts, 32, 7)
    assert torch.equal(seen, old_seen)
    assert torch.equal(truth, old_truth)
    assert seen.stride() == old_seen.stride()


def test_without_variation_both_are_the_centre_of_the_crop() -> None:
    crops = planes((4, 4))
    seen, truth = vary(crops, draw({}), 1.25)
    torch.testing.assert_close(truth, crops[..., 4:36, 4:36])
    torch.testing.assert_close(seen, crops[:, :3, 4:36, 4:36])


@pytest.mark.parametrize(
    "changes",
    [
        {"warp": 0.05},
        {"color": 0.2},
        {"palette": 1},
        {"hue": 60},
        {"saturation": 0.8},
        {"value": 0.4},
        {"lightness": 20},
        {"tint": 20},
        *({"color_transfer": mode} for mode in ("rct", "lct", "mkl", "idt", "sot")),
        {"clahe_chance": 1, "clahe_clip": 10},
        {"blur_chance": 1, "blur": 0.05},
        {"motion_chance": 1, "motion": 0.2},
        {"rescale_chance": 1, "rescale": 0.1},
        {"noise_chance": 1, "noise": 0.1},
        {"jpeg_chance": 1, "jpeg_quality": 1},
    ],
    ids=lambda changes: "-".join(str(x) for pair in changes.items() for x in pair),
)
def test_each_changes_what_is_seen_and_not_what_is_drawn(changes: dict[str, object]) -> None:
    crops = planes((4, 4))
    seen, truth = vary(crops, draw(changes), 1.25)
    torch.testing.assert_close(truth, crops[..., 4:36, 4:36])
    assert (seen - truth[:, :3]).abs().mean() > 0.005
    assert seen.min() >= 0
    assert seen.max() <= 1


@pytest.mark.parametrize(
    ("gentle", "strong"),
    [
        ({"clahe_clip": 1, "clahe_chance": 1}, {"clahe_clip": 20, "clahe_chance": 1}),
        ({"clahe_tiles": 1, "clahe_chance": 1}, {"clahe_tiles": 8, "clahe_chance": 1}),
        ({"blur": 0, "blur_chance": 1}, {"blur": 0.05, "blur_chance": 1}),
        ({"motion": 0, "motion_chance": 1}, {"motion": 0.2, "motion_chance": 1}),
        ({"rescale": 1, "rescale_chance": 1}, {"rescale": 0.1, "rescale_chance": 1}),
        ({"noise": 0, "noise_chance": 1}, {"noise": 0.2, "noise_chance": 1}),
        ({"jpeg_quality": 100, "jpeg_chance": 1}, {"jpeg_quality": 1, "jpeg_chance": 1}),
    ],
    ids=lambda changes: "-".join(str(x) for x in next(iter(changes.items()))),
)
def test_the_strength_of_each_counts(gentle: dict[str, object], strong: dict[str, object]) -> None:
    crops = planes((4, 4))
    little, much = (vary(crops, draw(changes), 1.25)[0] for changes in (gentle, strong))
    plain = crops[:, :3, 4:36, 4:36]
    assert (much - plain).abs().mean() > (little - plain).abs().mean() + 0.005


@pytest.mark.parametrize("name", ["clahe", "blur", "motion", "rescale", "noise", "jpeg"])
def test_a_chance_is_the_part_of_the_faces_and_the_others_stay_as_they_are(name: str) -> None:
    crops = planes((150, 150), 16)
    draws = draw({f"{name}_chance": 0.3, "blur": 0.05, "motion": 0.2}, (150, 150), 16)
    (change,) = draws.changes
    assert len(change.faces) / 300 == pytest.approx(0.3, abs=0.1)
    seen, truth = vary(crops, draws, 1.0)
    changed = (seen - truth[:, :3]).abs().amax((1, 2, 3)) > 1e-4
    assert changed[change.faces].float().mean() > 0.6  # some draw next to nothing
    changed[change.faces] = False
    assert not changed.any()


@pytest.mark.parametrize(("flip", "mirrored"), [(False, ()), ("source", (0,)), ("target", (1,)), (True, (0, 1, 2))])
def test_each_side_is_mirrored_by_itself_and_others_with_everybody(flip: bool | str, mirrored: tuple[int, ...]) -> None:
    similarity = draw({"flip": flip}, (100, 100, 100), 4).similarity
    turned = (torch.linalg.det(similarity[:, :, :2]) < 0).split(100)
    assert [30 < part.sum() < 70 for part in turned] == [i in mirrored for i in range(3)]
    assert not any(part.any() for i, part in enumerate(turned) if i not in mirrored)


def test_a_warp_has_its_strength_and_its_grids() -> None:
    none, half, full = (
        random_draws(Augmentation(), (2, 2), PALETTES[:2], 16, x, generator(), CPU) for x in (0, 0.5, 1)
    )
    assert none.warp.abs().max() == 0
    torch.testing.assert_close(half.warp * 2, full.warp)
    assert not torch.equal(draw({"warp": 0.01, "warp_grids": (3, 9)}).warp, draw({"warp": 0.01}).warp)


def test_transferred_colors_are_those_of_the_other_side_and_the_palette_adds_nothing() -> None:
    crops, hull = planes((6, 6)), discs(1, 32, 0.5) > 0
    palettes = [Palette(*torch.std_mean(crops[s, :3], (0, 2, 3))[::-1]) for s in (slice(6), slice(6, 12))]
    settings = Augmentation.model_validate({**NONE, "color_transfer": "mkl", "palette": 1})
    seen, truth = vary(crops, random_draws(settings, (6, 6), palettes, 32, 1.0, generator(), CPU), 1.25)

    def means(x: Tensor) -> Tensor:
        return (x[:, :3] * hull).sum((2, 3)) / hull.sum()  # (B, 3)

    # Each face's mean is about that of one of the other side's.
    for own, others in ((slice(6), slice(6, 12)), (slice(6, 12), slice(6))):
        distance = torch.cdist(means(seen[own]), means(truth[others])).amin(1)
        assert distance.max() < 0.06
        assert torch.cdist(means(truth[own]), means(truth[others])).amin(1).mean() > distance.mean() * 2


@pytest.mark.parametrize("mode", ["rct", "lct", "mkl", "idt", "sot"])
def test_everything_at_once_gives_pictures(mode: str) -> None:
    counts = (4, 3, 2)
    seen, truth = vary(planes(counts), draw({**EVERYTHING, "color_transfer": mode}, counts), 1.25)
    assert (seen.shape, truth.shape) == ((9, 3, 32, 32), (9, 5, 32, 32))
    assert seen.dtype == truth.dtype == torch.float32
    assert torch.isfinite(seen).all()
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_what_is_off_draws_nothing() -> None:
    """So that each setting can be tried against a run without it."""
    g, after = generator(), []
    for _ in range(2):
        random_draws(Augmentation(), (4, 4), PALETTES[:2], 16, 1.0, g, CPU)
        after.append(g.get_state())
    g = generator()
    off = Augmentation(clahe_clip=9, clahe_tiles=2, blur=0.03, noise=0.2, jpeg_quality=3, rescale=0.2, motion=0.1)
    for state in after:
        random_draws(off, (4, 4), PALETTES[:2], 16, 1.0, g, CPU)
        assert torch.equal(g.get_state(), state)


def test_same_seed_same_picture() -> None:
    crops = planes((4, 4))
    first, second, other = (vary(crops, draw(EVERYTHING, seed=seed), 1.25)[0] for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_nothing_waits_for_the_device() -> None:
    """Meta tensors hold no values: nothing may look at them."""
    meta, augmentation = torch.device("meta"), Augmentation.model_validate(EVERYTHING)
    draws = random_draws(augmentation, (4, 4), PALETTES[:2], 32, 1.0, generator(), meta)
    assert len(draws.changes) == 8
    seen, truth = vary(planes((4, 4)).to(meta), draws, 1.25)
    assert (seen.shape, truth.shape) == ((8, 3, 32, 32), (8, 5, 32, 32))
