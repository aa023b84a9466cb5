"""Colour transfer between faces, based on the colours inside both hulls.

Images are `(B, 3, H, W)` float32 sRGB in [0, 1]; masks are `(B, 1, H, W)`, inside where above 0.5. Results are not
clipped.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from visagist.training.augment.options import ColorTransfer
from visagist.training.augment.spaces import lab_to_rgb, rgb_to_lab

MIN_VARIANCE = 1e-5  # added to variances, about that of 8-bit rounding and noise; keeps covariances invertible
STATISTICS_SIZE = 64  # px; larger images are subsampled for statistics
MIN_HULL_AREA = 16  # px; faces with less are not changed
SAMPLES = 512  # pixels per face that represent its distribution
CURVE_STEPS = 1024  # entries of a lookup table
SLICED_ROUNDS: dict[str, tuple[int, int]] = {"idt": (10, 1), "sot": (6, 3)}  # rounds, and bases per round


def random_transfer(
    mode: ColorTransfer, chosen: Tensor, counts: Sequence[int], generator: torch.Generator
) -> tuple[Tensor, ...] | None:
    """Draw a partner of the next identity for each face in `chosen`, `(B,)` bool; the first identity follows the last.

    Returns:
        `(K,)` indices of chosen faces and of their partners, and further arguments of the transfer, on the CPU; None
        if no face is chosen.
    """
    if not chosen.any():
        return None
    starts, following = list(accumulate(counts, initial=0)), [*range(1, len(counts)), 0]
    partners = [
        starts[j] + torch.randint(counts[j], (n,), generator=generator) for n, j in zip(counts, following, strict=True)
    ]
    arguments: tuple[Tensor, ...] = ()
    if mode in SLICED_ROUNDS:
        positions = (torch.arange(SAMPLES) + torch.rand(SAMPLES, generator=generator)) / SAMPLES
        arguments = (positions, random_rotations(*SLICED_ROUNDS[mode], generator))
    return chosen.nonzero()[:, 0], torch.cat(partners)[chosen], *arguments


def random_rotations(rounds: int, bases: int, generator: torch.Generator) -> Tensor:
    """`(rounds, bases, 3, 3)` uniformly distributed orthogonal matrices.

    Mezzadri 2007, "How to generate random matrices from the classical compact groups".
    """
    q, r = torch.linalg.qr(torch.randn(rounds, bases, 3, 3, generator=generator))
    return q * r.diagonal(dim1=2, dim2=3).sign()[:, :, None]


def transfer_colors(
    seen: Tensor, hull: Tensor, mode: ColorTransfer, faces: Tensor, partners: Tensor, *arguments: Tensor
) -> Tensor:
    """Give faces of a batch `(B, 3, R, R)` the colours of their partners; the result is clipped to [0, 1].

    `hull` is `(B, 1, R, R)`; the other arguments are those of `random_transfer`.
    """
    image, mask = seen[faces], hull[faces]
    other, other_mask = seen[partners], hull[partners]
    changed = TRANSFERS[mode](image, mask, other, other_mask, *arguments)
    areas = [(each > 0.5).sum((1, 2, 3), keepdim=True) for each in (mask, other_mask)]
    enough = torch.minimum(*areas) >= MIN_HULL_AREA
    return seen.index_copy(0, faces, torch.where(enough, changed.clamp(0, 1), image))


def rct(image: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Match mean and standard deviation in CIE Lab.

    Reinhard et al. 2001, "Color Transfer between Images".
    """
    lab = rgb_to_lab(image)
    floor = MIN_VARIANCE * 100**2  # L* is in [0, 100]
    mean, a = moments(lab, mask, floor)
    goal_mean, b = moments(rgb_to_lab(_subsample(other)), _subsample(other_mask), floor)
    ratio = (b.diagonal(dim1=1, dim2=2) / a.diagonal(dim1=1, dim2=2)).sqrt()[..., None].to(lab.dtype)  # (B, 3, 1)
    return lab_to_rgb((lab.flatten(2) * ratio + (goal_mean - ratio * mean)).reshape(image.shape))


def lct(image: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Match mean and covariance in RGB by `B^½ A^-½`.

    Hertzmann 2001, "Algorithms for Rendering in Artistic Styles".
    """
    mean, a = moments(image, mask)
    goal_mean, b = moments(other, other_mask)
    return _map(image, _power(b, 0.5) @ _power(a, -0.5), mean, goal_mean)


def mkl(image: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Match mean and covariance in RGB by the linear map that moves colours least, `A^-½ (A^½ B A^½)^½ A^-½`.

    Pitié and Kokaram 2007, "The Linear Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour Transfer".
    """
    mean, a = moments(image, mask)
    goal_mean, b = moments(other, other_mask)
    root, inverse = _power(a, 0.5), _power(a, -0.5)
    return _map(image, inverse @ _power(root @ b @ root, 0.5) @ inverse, mean, goal_mean)


def moments(colors: Tensor, mask: Tensor, floor: float = MIN_VARIANCE) -> tuple[Tensor, Tensor]:
    """Mean `(B, 3, 1)` and covariance `(B, 3, 3)`, float64, inside the mask; `floor` is added to the variances."""
    colors, inside = _subsample(colors).flatten(2), (_subsample(mask) > 0.5).to(colors.dtype).flatten(2)
    count = inside.sum(2, keepdim=True).clamp_min(1)
    mean = (colors * inside).sum(2, keepdim=True) / count
    centred = (colors - mean) * inside  # before squaring, because float32 would lose small variances
    covariance = (centred @ centred.mT / count).double()  # products of their roots need more precision than float32
    return mean, covariance + floor * torch.eye(3, device=colors.device)


def _subsample(x: Tensor) -> Tensor:
    step = max(1, min(x.shape[2:]) // STATISTICS_SIZE)
    return x[:, :, ::step, ::step]


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of symmetric positive definite matrices."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * (values**exponent)[:, None] @ vectors.mT


def _map(image: Tensor, matrix: Tensor, mean: Tensor, goal_mean: Tensor) -> Tensor:
    matrix = matrix.to(image.dtype)
    return torch.baddbmm(goal_mean - matrix @ mean, matrix, image.flatten(2)).reshape(image.shape)


def sliced(
    image: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor, positions: Tensor, rotations: Tensor
) -> Tensor:
    """Match the distribution of colours by matching it along random axes, in rounds.

    With one basis per round, Pitié, Kokaram and Dahyot 2007, "Automated Colour Grading Using Colour Distribution
    Transfer"; with several, Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".

    `positions`, `(S,)` ascending in [0, 1), select the sampled pixels inside the masks; `rotations` are `(N, M, 3, 3)`
    for N rounds of M bases.
    """
    pixels = image.flatten(2)
    own, goal = sample_colors(image, mask, positions), sample_colors(other, other_mask, positions)  # (B, 3, S)
    for bases in rotations:
        own_shift, pixel_shift = torch.zeros_like(own), torch.zeros_like(pixels)
        for basis in bases:
            back = basis.T.expand(len(own), 3, 3)
            ordered, order = (basis @ torch.cat([own, goal])).sort(2)
            knots, heights = ordered[: len(own)], ordered[len(own) :] - ordered[: len(own)]
            own_shift.baddbmm_(back, torch.empty_like(own).scatter_(2, order[: len(own)], heights))
            pixel_shift.baddbmm_(back, _look_up(pixels, basis, knots, heights))
        own, pixels = own.add(own_shift, alpha=1 / len(bases)), pixels.add(pixel_shift, alpha=1 / len(bases))
    return pixels.reshape(image.shape)


def sample_colors(colors: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """`(B, 3, S)` colours at `(S,)` positions from 0 to 1: the first to the last pixel inside the mask."""
    so_far = (mask > 0.5).flatten(1).cumsum(1, dtype=torch.float32)  # (B, P), exact up to 4096 x 4096 px
    total = so_far[:, -1:]
    wanted = ((positions * total).floor() + 1).minimum(total)  # float32 may round up
    index = torch.searchsorted(so_far, wanted)  # (B, S)
    return colors.flatten(2).gather(2, index[:, None].expand(-1, 3, -1))


def _look_up(pixels: Tensor, basis: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
    """Evaluate a piecewise linear curve for each row of `basis` at the pixels `(B, 3, P)`, from a table."""
    low = knots[..., :1]  # (B, 3, 1)
    scale = (CURVE_STEPS - 1) / (knots[..., -1:] - low).clamp_min(1e-6)  # (B, 3, 1): steps per unit
    even = low + torch.arange(CURVE_STEPS, device=knots.device) / scale  # (B, 3, CURVE_STEPS)
    after = torch.searchsorted(knots, even).clamp(1, knots.shape[2] - 1)
    near, far = knots.gather(2, after - 1), knots.gather(2, after)
    part = ((even - near) / (far - near).clamp_min(1e-9)).clamp(0, 1)
    table = torch.lerp(heights.gather(2, after - 1), heights.gather(2, after), part)
    index = torch.baddbmm(0.5 - low * scale, basis * scale, pixels)  # `(basis @ pixels - low) * scale`, rounded
    return table.gather(2, index.clamp_(0, CURVE_STEPS - 1).long())


TRANSFERS: dict[str, Callable[..., Tensor]] = {"rct": rct, "lct": lct, "mkl": mkl, "idt": sliced, "sot": sliced}
