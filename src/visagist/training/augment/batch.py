"""A batch of crops varied: drawn on the CPU, applied on the device.

- `random_draws`: the random numbers of one batch, `Draws`
- `random_changes`: what happens to colours and sharpness of some of its faces, each a `Change`
- `vary`: the picture that the network sees, and the one that it should draw
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from visagist.training.augment.color import Palette, jitter_hsv, jitter_lab, random_colors
from visagist.training.augment.contrast import equalize
from visagist.training.augment.degrade import add_noise, blur, motion_blur, motion_kernels, rescale
from visagist.training.augment.geometry import random_similarity, random_warp, sample
from visagist.training.augment.jpeg import jpeg, tables
from visagist.training.augment.options import Augmentation
from visagist.training.augment.transfer import Transfer, random_transfer, recolored


@dataclass(frozen=True)
class Change:
    """What happens to some faces of a batch.

    Attributes:
        apply: takes `(K, 3, R, R)` pictures and `how`, gives pictures.
        faces: `(K,)` places in the batch.
        how: strengths, directions, tables: what was drawn for them.
    """

    apply: Callable[..., Tensor]
    faces: Tensor
    how: tuple[Tensor, ...]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch, on the device."""

    similarity: Tensor  # (B, 2, 3)
    warp: Tensor  # (B, R, R, 2)
    gain: Tensor  # (B, 3, 1, 1)
    offset: Tensor  # (B, 3, 1, 1)
    transfer: Transfer | None
    changes: tuple[Change, ...]  # in this order


def random_draws(
    augmentation: Augmentation,
    counts: Sequence[int],
    palettes: Sequence[Palette],
    size: int,
    warp: float,
    generator: torch.Generator,
    device: torch.device,
) -> Draws:
    """Draw all that happens to one batch. What is off draws nothing.

    Args:
        augmentation: how far it may go.
        counts: faces of each person in the order of the batch: the source, the target, others.
        palettes: of the same people, on the CPU.
        size: side in px of what is seen and drawn.
        warp: part of the full random warp.
        generator: of the CPU.
        device: of the batch.

    Returns:
        Draws on the device. Everybody takes the colours of the next person, the last those of the first.
    """
    a, count = augmentation, sum(counts)
    reach, transfer = torch.full((count, 1), a.palette), None
    if a.color_transfer != "none":
        chosen = torch.rand(count, generator=generator) < a.color_transfer_chance
        transfer = random_transfer(a.color_transfer, chosen, counts, generator, device)
        reach[chosen] = 0  # who has the colours of another face would be taken beyond them
    colors = [
        random_colors(own, other, part, a.color, generator)
        for own, other, part in zip(palettes, [*palettes[1:], palettes[0]], reach.split(list(counts)), strict=True)
    ]
    asked = [a.flip in (True, person) for person in ("source", "target")] + [a.flip is True] * (len(counts) - 2)
    may_flip = torch.tensor(asked).repeat_interleave(torch.tensor(counts))
    return Draws(
        random_similarity(a, may_flip, generator).to(device),
        random_warp(count, size, a.warp * warp, a.warp_grids, generator).to(device),
        torch.cat([gain for gain, _ in colors]).to(device),
        torch.cat([offset for _, offset in colors]).to(device),
        transfer,
        random_changes(a, count, size, generator, device),
    )


def random_changes(
    a: Augmentation, count: int, size: int, generator: torch.Generator, device: torch.device
) -> tuple[Change, ...]:
    """Draw what happens to colours and sharpness of some of `count` faces of `size` px, from the light to the file."""
    changes: list[Change] = []

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def some(chance: float, apply: Callable[..., Tensor], how: Callable[[int], tuple[Tensor, ...]]) -> None:
        if chance:
            faces = (uniform(count) < chance).nonzero()[:, 0]
            if len(faces):
                changes.append(Change(apply, faces.to(device), tuple(x.to(device) for x in how(len(faces)))))

    def hsv(n: int) -> tuple[Tensor]:
        either = uniform(n, 3) * 2 - 1
        factors = torch.tensor([1 + a.saturation, 1 + a.value]) ** either[:, 1:]
        return (torch.cat([either[:, :1] * a.hue / 360, factors], 1),)

    def lab(n: int) -> tuple[Tensor]:
        return ((uniform(n, 3) * 2 - 1) * torch.tensor([a.lightness, a.tint, a.tint]),)

    def motion(n: int) -> tuple[Tensor]:
        length, angle = (uniform(n, 2) * torch.tensor([a.motion * size, torch.pi])).unbind(1)
        return (motion_kernels(length, angle, a.motion * size),)

    def noise(n: int) -> tuple[Tensor, Tensor, Tensor]:
        # One field, of which each face sees another part: drawing one for each took most of the time.
        field = torch.randn(3, size, size, generator=generator)
        return field, torch.randint(size, (n, 2), generator=generator), uniform(n) * a.noise

    some(float(any((a.hue, a.saturation, a.value))), jitter_hsv, hsv)
    some(float(any((a.lightness, a.tint))), jitter_lab, lab)
    some(a.clahe_chance, partial(equalize, tiles=a.clahe_tiles), lambda n: (1 + uniform(n) * (a.clahe_clip - 1),))
    some(a.blur_chance, blur, lambda n: (uniform(n) * a.blur * size,))
    some(a.motion_chance, motion_blur, motion)
    some(a.rescale_chance, rescale, lambda n: ((size * a.rescale ** uniform(n)).round().clamp_min(1),))
    some(a.noise_chance, add_noise, noise)
    some(a.jpeg_chance, jpeg, lambda n: (tables(torch.randint(a.jpeg_quality, 101, (n,), generator=generator)),))
    return tuple(changes)


def vary(planes: Tensor, draws: Draws, margin: float) -> tuple[Tensor, Tensor]:
    """Sample a batch of crops twice: what the network sees, and what it should draw.

    Args:
        planes: `(B, C, S, S)` float32 in [0, 1], the first three channels RGB, the next one the hull where colours are
            transferred; S = size * margin.
        draws: on the same device.
        margin: how much larger the crops are than what is sampled.

    Returns:
        `(B, 3, R, R)` RGB warped, recoloured and degraded, in [0, 1], and `(B, C, R, R)` with none of that.
    """
    channels = 3 if draws.transfer is None else 4
    seen, truth = sample(planes, draws.similarity, draws.warp, margin, channels)
    if draws.transfer is not None:
        seen = recolored(seen[:, :3], seen[:, 3:], draws.transfer)
    seen = (seen * draws.gain + draws.offset).clamp(0, 1)
    for change in draws.changes:
        seen = seen.index_copy(0, change.faces, change.apply(seen[change.faces], *change.how))
    return seen, truth
