"""Augmentation of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from visagist.training.augment.color import equalize, jitter_hsv, jitter_lab, random_colors
from visagist.training.augment.degrade import add_noise, blur, jpeg, jpeg_tables, motion_blur, motion_kernels, rescale
from visagist.training.augment.geometry import random_similarity, random_warp, sample
from visagist.training.augment.options import Augmentation
from visagist.training.augment.transfer import random_transfer, transfer_colors


def augment_batch(
    planes: Tensor,
    options: Augmentation,
    counts: Sequence[int],
    palettes: Sequence[Tensor],
    size: int,
    margin: float,
    warp: float,
    generator: torch.Generator,
    faces: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Augment the crops of a batch; disabled augmentations draw no random numbers.

    Args:
        planes: `(B, C, S, S)` float32 in [0, 1] on the device: RGB, landmark hull, any others.
        options: strength of each augmentation.
        counts: faces per identity in the order of the batch: source, target, others.
        palettes: of each identity (see `random_colors`), on the CPU; each is moved towards the next, the last towards
            the first.
        size: side R of the network's images in px.
        margin: S / R.
        warp: factor of the strength of the warp, in [0, 1].
        generator: on the CPU.
        faces: `(B, 3, S, S)` RGB to use as input instead of the crops' own, such as driven faces.

    Returns:
        The network's input `(B, 3, R, R)`, warped, recoloured and degraded, in [0, 1]; and the ground truth
        `(B, C, R, R)`, with rotation, scale and shift only.
    """
    count, device = len(planes), planes.device
    reach, transfer = torch.full((count, 1), options.palette), None
    if options.color_transfer != "none":
        chosen = torch.rand(count, generator=generator) < options.color_transfer_chance
        transfer = random_transfer(options.color_transfer, chosen, counts, generator)
        reach[chosen] = 0  # these get their colours from a single face instead
    colors = [
        random_colors(own, other, part, options.color, generator)
        for own, other, part in zip(palettes, [*palettes[1:], palettes[0]], reach.split(list(counts)), strict=True)
    ]
    gain, offset = (torch.cat(parts).to(device) for parts in zip(*colors, strict=True))
    flips = [options.flip in (True, side) for side in ("source", "target")] + [options.flip is True] * (len(counts) - 2)
    may_flip = torch.tensor(flips).repeat_interleave(torch.tensor(counts))
    similarity = random_similarity(options, may_flip, generator).to(device)
    displacement = random_warp(count, size, options.warp * warp, options.warp_grids, generator).to(device)

    shown = planes[:, :3] if faces is None else faces
    if transfer is not None:
        shown = torch.cat([shown, planes[:, 3:4]], 1)
    seen, truth = sample(shown, planes, similarity, displacement, margin)
    if transfer is not None:
        arguments = (each.to(device) for each in transfer)
        seen = transfer_colors(seen[:, :3], seen[:, 3:], options.color_transfer, *arguments)
    return _recolor_and_degrade((seen * gain + offset).clamp(0, 1), options, generator), truth


def _recolor_and_degrade(seen: Tensor, options: Augmentation, generator: torch.Generator) -> Tensor:
    """Change colour, contrast and sharpness of random faces, in the physical order of light, lens, sensor and codec."""
    count, size, device = len(seen), seen.shape[-1], seen.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    def hsv(x: Tensor) -> Tensor:
        signed = uniform(len(x), 3) * 2 - 1
        factors = torch.tensor([1 + options.saturation, 1 + options.value]) ** signed[:, 1:]
        return jitter_hsv(x, torch.cat([signed[:, :1] * options.hue / 360, factors], 1).to(device))

    def lab(x: Tensor) -> Tensor:
        limits = torch.tensor([options.lightness, options.tint, options.tint])
        return jitter_lab(x, ((uniform(len(x), 3) * 2 - 1) * limits).to(device))

    def contrast(x: Tensor) -> Tensor:
        return equalize(x, (1 + uniform(len(x)) * (options.clahe_clip - 1)).to(device), options.clahe_tiles)

    def defocus(x: Tensor) -> Tensor:
        return blur(x, (uniform(len(x)) * options.blur * size).to(device))

    def motion(x: Tensor) -> Tensor:
        length, angle = (uniform(len(x), 2) * torch.tensor([options.motion * size, torch.pi])).unbind(1)
        return motion_blur(x, motion_kernels(length, angle, options.motion * size).to(device))

    def shrink(x: Tensor) -> Tensor:
        return rescale(x, (size * options.rescale ** uniform(len(x))).round().clamp_min(1).to(device))

    def noise(x: Tensor) -> Tensor:
        # One field, shifted for each face; a field per face would take most of the time of a batch.
        field = torch.randn(3, size, size, generator=generator)
        shift = torch.randint(size, (len(x), 2), generator=generator)
        return add_noise(x, field.to(device), shift.to(device), (uniform(len(x)) * options.noise).to(device))

    def compress(x: Tensor) -> Tensor:
        quality = torch.randint(options.jpeg_quality, 101, (len(x),), generator=generator)
        return jpeg(x, jpeg_tables(quality).to(device))

    changes = [
        (float(any((options.hue, options.saturation, options.value))), hsv),
        (float(any((options.lightness, options.tint))), lab),
        (options.clahe_chance, contrast),
        (options.blur_chance, defocus),
        (options.motion_chance, motion),
        (options.rescale_chance, shrink),
        (options.noise_chance, noise),
        (options.jpeg_chance, compress),
    ]
    for chance, change in changes:
        if chance and len(faces := (uniform(count) < chance).nonzero()[:, 0]):
            faces = faces.to(device)
            seen = seen.index_copy(0, faces, change(seen[faces]))
    return seen
