"""Augmentation of a batch: random numbers are drawn on the CPU from one generator and applied on the device."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from visagist.training.augment.color import Palette, equalize, jitter_hsv, jitter_lab, random_colors
from visagist.training.augment.degrade import add_noise, blur, jpeg, jpeg_tables, motion_blur, motion_kernels, rescale
from visagist.training.augment.geometry import random_similarity, random_warp, sample
from visagist.training.augment.options import Augmentation
from visagist.training.augment.transfer import Transfer, random_transfer, transfer_colors


class Change(NamedTuple):
    """A function of `(K, 3, R, R)` images and their parameters, applied to K faces of a batch."""

    apply: Callable[..., Tensor]
    faces: Tensor  # (K,) indices into the batch
    parameters: tuple[Tensor, ...]


class Draws(NamedTuple):
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
    """Draw the augmentation of one batch; what is switched off draws nothing.

    Args:
        augmentation: the options.
        counts: faces per identity, in the order of the batch: the source, the target, others.
        palettes: per identity, on the CPU; each takes on the colours of the next, the last those of the first.
        size: side of the network's images in px.
        warp: factor of the warp's strength in [0, 1].
        generator: on the CPU.
        device: of the result.
    """
    a, count = augmentation, sum(counts)
    reach, transfer = torch.full((count, 1), a.palette), None
    if a.color_transfer != "none":
        chosen = torch.rand(count, generator=generator) < a.color_transfer_chance
        transfer = random_transfer(a.color_transfer, chosen, counts, generator, device)
        reach[chosen] = 0  # these get the other identity's colours from a face
    following = [*palettes[1:], palettes[0]]
    colors = [
        random_colors(own, other, part, a.color, generator)
        for own, other, part in zip(palettes, following, reach.split(list(counts)), strict=True)
    ]
    gain, offset = (torch.cat(parts).to(device) for parts in zip(*colors, strict=True))
    flips = [a.flip in (True, side) for side in ("source", "target")] + [a.flip is True] * (len(counts) - 2)
    may_flip = torch.tensor(flips).repeat_interleave(torch.tensor(counts))
    similarity = random_similarity(a, may_flip, generator).to(device)
    displacement = random_warp(count, size, a.warp * warp, a.warp_grids, generator).to(device)
    return Draws(similarity, displacement, gain, offset, transfer, _random_changes(a, count, size, generator, device))


def _random_changes(
    a: Augmentation, count: int, size: int, generator: torch.Generator, device: torch.device
) -> tuple[Change, ...]:
    """Colour, contrast and degradation, in the order in which light, lens, sensor and codec cause them."""
    changes: list[Change] = []

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def add(chance: float, apply: Callable[..., Tensor], draw: Callable[[int], tuple[Tensor, ...]]) -> None:
        if chance:
            faces = (uniform(count) < chance).nonzero()[:, 0]
            if len(faces):
                changes.append(Change(apply, faces.to(device), tuple(x.to(device) for x in draw(len(faces)))))

    def hsv(n: int) -> tuple[Tensor]:
        signed = uniform(n, 3) * 2 - 1
        factors = torch.tensor([1 + a.saturation, 1 + a.value]) ** signed[:, 1:]
        return (torch.cat([signed[:, :1] * a.hue / 360, factors], 1),)

    def lab(n: int) -> tuple[Tensor]:
        return ((uniform(n, 3) * 2 - 1) * torch.tensor([a.lightness, a.tint, a.tint]),)

    def motion(n: int) -> tuple[Tensor]:
        length, angle = (uniform(n, 2) * torch.tensor([a.motion * size, torch.pi])).unbind(1)
        return (motion_kernels(length, angle, a.motion * size),)

    def noise(n: int) -> tuple[Tensor, Tensor, Tensor]:
        # One field, shifted for each face: a field per face would take most of the time of a batch.
        field = torch.randn(3, size, size, generator=generator)
        return field, torch.randint(size, (n, 2), generator=generator), uniform(n) * a.noise

    add(float(any((a.hue, a.saturation, a.value))), jitter_hsv, hsv)
    add(float(any((a.lightness, a.tint))), jitter_lab, lab)
    add(a.clahe_chance, partial(equalize, tiles=a.clahe_tiles), lambda n: (1 + uniform(n) * (a.clahe_clip - 1),))
    add(a.blur_chance, blur, lambda n: (uniform(n) * a.blur * size,))
    add(a.motion_chance, motion_blur, motion)
    add(a.rescale_chance, rescale, lambda n: ((size * a.rescale ** uniform(n)).round().clamp_min(1),))
    add(a.noise_chance, add_noise, noise)
    add(a.jpeg_chance, jpeg, lambda n: (jpeg_tables(torch.randint(a.jpeg_quality, 101, (n,), generator=generator)),))
    return tuple(changes)


def vary(planes: Tensor, draws: Draws, margin: float) -> tuple[Tensor, Tensor]:
    """Apply `draws` to a batch of crops.

    Args:
        planes: `(B, C, S, S)` float32 in [0, 1]: RGB, the face's hull if colours are transferred, any others.
        draws: on the same device.
        margin: size of the crops relative to the network's images, S / R.

    Returns:
        The network's input, `(B, 3, R, R)` warped, recoloured and degraded, in [0, 1]; and `(B, C, R, R)`, what it
        should predict, with rotation, scale and shift only.
    """
    channels = 3 if draws.transfer is None else 4
    seen, truth = sample(planes, draws.similarity, draws.warp, margin, channels)
    if draws.transfer is not None:
        seen = transfer_colors(seen[:, :3], seen[:, 3:], draws.transfer)
    seen = (seen * draws.gain + draws.offset).clamp(0, 1)
    for change in draws.changes:
        seen = seen.index_copy(0, change.faces, change.apply(seen[change.faces], *change.parameters))
    return seen, truth
