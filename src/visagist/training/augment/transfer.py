"""Colours of one face given to another; what is compared is what lies inside the two hulls.

Straight maps, one for all pixels of a face:
- `rct`: mean and deviation in CIE Lab (Reinhard et al. 2001, "Color Transfer between Images")
- `lct`: mean and covariance in RGB, by the roots of both covariances (Hertzmann 2001, "Algorithms for Rendering in
  Artistic Styles")
- `mkl`: mean and covariance in RGB, by the map that moves colours least (Pitié and Kokaram 2007, "The Linear
  Monge-Kantorovitch Linear Colour Mapping for Example-Based Colour Transfer")

Maps of the whole distribution, along random directions, from a sample of the pixels:
- `sliced` with one basis a round is `idt`: iterative distribution transfer (Pitié, Kokaram and Dahyot 2007, "Automated
  Colour Grading Using Colour Distribution Transfer")
- `sliced` with several is `sot`: sliced optimal transport (Rabin et al. 2011, "Wasserstein Barycenter and Its
  Application to Texture Mixing"; Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures")

- `Transfer`, `random_transfer`, `recolored`: the draws of a batch, and applying them

Pictures are `(B, 3, H, W)` float32 sRGB in [0, 1], masks `(B, 1, H, W)`, counted where they are above 0.5. What comes
back is not clipped. All of it runs on any device and never waits for it: even the eigenvectors are found by a fixed
number of rotations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visagist.training.augment.options import ColorTransfer
from visagist.training.augment.spaces import lab_to_rgb, rgb_to_lab

FLOOR = 1e-5  # variance added to every colour: steps of 8 bits and noise; nothing is divided by less
SIDE = 64  # px; mean and covariance of larger pictures come from every second pixel, or fewer
FEWEST = 16  # px inside a hull from which anything is concluded
SAMPLE = 512  # px a face by which distributions are compared
STEPS = 1024  # places of a curve at which it is known; in between, the next counts
SWEEPS = 6  # of Jacobi rotations; float32 is exhausted after 5
ROUNDS: dict[str, tuple[int, int]] = {"idt": (10, 1), "sot": (6, 3)}  # rounds, and bases a round


@dataclass(frozen=True)
class Transfer:
    """Which faces of a batch take on whose colours, and how.

    Attributes:
        mode: one of those above.
        faces: `(K,)` places in the batch.
        partners: `(K,)` places of the faces whose colours they get.
        draws: what `sliced` takes besides pictures and masks, nothing for straight maps.
    """

    mode: ColorTransfer
    faces: Tensor
    partners: Tensor
    draws: tuple[Tensor, ...]


def random_transfer(
    mode: ColorTransfer, chosen: Tensor, counts: Sequence[int], generator: torch.Generator, device: torch.device
) -> Transfer | None:
    """Draw a face of the next person for each of the chosen faces of a batch; None where there are none.

    Args:
        mode: one of those above.
        chosen: `(B,)` bool, on the CPU.
        counts: faces of each person, in the order of the batch; the last person's next one is the first.
        generator: of the CPU.
        device: of the batch.
    """
    if not chosen.any():
        return None
    begins = [sum(counts[:i]) for i in range(len(counts))]
    following = [*range(1, len(counts)), 0]
    partners = torch.cat(
        [
            begins[j] + torch.randint(counts[j], (n,), generator=generator)
            for n, j in zip(counts, following, strict=True)
        ]
    )
    draws: tuple[Tensor, ...] = ()
    if mode in ROUNDS:
        places = (torch.arange(SAMPLE) + torch.rand(SAMPLE, generator=generator)) / SAMPLE
        draws = (places.to(device), random_rotations(*ROUNDS[mode], generator).to(device))
    return Transfer(mode, chosen.nonzero()[:, 0].to(device), partners[chosen].to(device), draws)


def random_rotations(rounds: int, bases: int, generator: torch.Generator) -> Tensor:
    """`(rounds, bases, 3, 3)` orthogonal matrices, evenly distributed over all there are.

    >>> r = random_rotations(2, 1, torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(r @ r.mT, torch.eye(3), atol=1e-5))
    True
    """
    q, r = torch.linalg.qr(torch.randn(rounds, bases, 3, 3, generator=generator))
    return q * r.diagonal(dim1=2, dim2=3).sign()[:, :, None]  # Mezzadri 2007: without it not evenly distributed


def recolored(seen: Tensor, hull: Tensor, transfer: Transfer) -> Tensor:
    """Give the chosen faces of a batch the colours of their partners; faces of too small a hull stay as they are.

    Args:
        seen: `(B, 3, R, R)`.
        hull: `(B, 1, R, R)` of the same faces.
        transfer: on the same device.

    Returns:
        `(B, 3, R, R)` in [0, 1].
    """
    picture, mask = seen[transfer.faces], hull[transfer.faces]
    other, other_mask = seen[transfer.partners], hull[transfer.partners]
    changed = MAPS[transfer.mode](picture, mask, other, other_mask, *transfer.draws)
    enough = torch.minimum(*((each > 0.5).sum((1, 2, 3), keepdim=True) for each in (mask, other_mask))) >= FEWEST
    return seen.index_copy(0, transfer.faces, torch.where(enough, changed.clamp(0, 1), picture))


def rct(picture: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Give `picture` the mean and deviation that `other` has in CIE Lab.

    >>> picture, mask = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    >>> bool(torch.allclose(rct(picture, mask, picture, mask), picture, atol=1e-3))
    True
    """
    lab = rgb_to_lab(picture)
    own_mean, own = moments(lab, mask)
    mean, goal = moments(rgb_to_lab(_thinned(other)), _thinned(other_mask))
    floor = FLOOR * 100**2  # Lab runs to 100
    own, goal = (each.diagonal(dim1=1, dim2=2)[..., None] + floor for each in (own, goal))  # (B, 3, 1)
    ratio = (goal / own).sqrt()
    return lab_to_rgb((lab.flatten(2) * ratio + (mean - ratio * own_mean)).reshape(picture.shape))


def lct(picture: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Give `picture` the mean and covariance that `other` has in RGB, by `B^½ A^-½`.

    >>> picture, mask = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    >>> bool(torch.allclose(lct(picture, mask, picture, mask), picture, atol=1e-4))
    True
    """
    _, inverse, goal_root, own_mean, mean = _roots_of_both(picture, mask, other, other_mask)
    return _mapped(picture, goal_root @ inverse, own_mean, mean)


def mkl(picture: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
    """Give `picture` the mean and covariance that `other` has in RGB, by `A^-½ (A^½ B A^½)^½ A^-½`.

    >>> picture, mask = torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    >>> bool(torch.allclose(mkl(picture, mask, picture, mask), picture, atol=1e-4))
    True
    """
    own_root, inverse, goal_root, own_mean, mean = _roots_of_both(picture, mask, other, other_mask)
    values, vectors = singular(goal_root @ own_root)  # whose square would not survive float32
    return _mapped(picture, inverse @ (vectors * values[:, None] @ vectors.mT) @ inverse, own_mean, mean)


def _roots_of_both(picture: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> tuple[Tensor, ...]:
    """Of both covariances `A^½`, `A^-½` and `B^½`, each `(B, 3, 3)`, and both means."""
    own_mean, own = moments(picture, mask)
    mean, goal = moments(other, other_mask)
    root, inverse = roots(torch.cat([own, goal]))
    return root[: len(own)], inverse[: len(own)], root[len(own) :], own_mean, mean


def _thinned(x: Tensor) -> Tensor:
    step = max(1, min(x.shape[2:]) // SIDE)
    return x[:, :, ::step, ::step]


def moments(colors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `(B, 3, 1)` and covariance `(B, 3, 3)` of `(B, 3, H, W)` where the mask is above 0.5; 0 where it nowhere is.

    >>> mean, covariance = moments(torch.full((1, 3, 4, 4), 0.25), torch.ones(1, 1, 4, 4))
    >>> mean.flatten().tolist(), covariance.sum().item()
    ([0.25, 0.25, 0.25], 0.0)
    """
    colors, inside = _thinned(colors).flatten(2), (_thinned(mask) > 0.5).to(colors.dtype).flatten(2)
    count = inside.sum(2, keepdim=True).clamp_min(1)
    mean = (colors * inside).sum(2, keepdim=True) / count
    centred = (colors - mean) * inside  # first, or float32 loses small variances
    return mean, centred @ centred.mT / count


def _mapped(picture: Tensor, matrix: Tensor, mean: Tensor, goal: Tensor) -> Tensor:
    return torch.baddbmm(goal - matrix @ mean, matrix, picture.flatten(2)).reshape(picture.shape)


def roots(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Square roots of `(B, 3, 3)` covariances, `FLOOR` added, and the inverses of the roots.

    >>> root, inverse = roots(torch.diag(torch.tensor([4.0, 1.0, 0.25]))[None])
    >>> root[0].diagonal().mul(100).round().tolist(), inverse[0].diagonal().mul(100).round().tolist()
    ([200.0, 100.0, 50.0], [50.0, 100.0, 200.0])
    """
    values, vectors = singular(covariance + FLOOR * torch.eye(3, device=covariance.device))
    deviation = values.sqrt()[:, None]  # (B, 1, 3)
    return vectors * deviation @ vectors.mT, vectors / deviation @ vectors.mT


def singular(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values `(B, 3)`, in no order, and right singular vectors `(B, 3, 3)` in columns of `(B, 3, 3)` matrices.

    Of covariances these are eigenvalues and eigenvectors. One-sided Jacobi rotations (Hestenes 1958, "Inversion of
    Matrices by Biorthogonalization and Related Results"), always equally many.

    >>> values, vectors = singular(torch.tensor([[[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]]))
    >>> sorted(values[0].mul(100).round().tolist())
    [100.0, 300.0, 500.0]
    """
    identity = torch.eye(3, device=matrices.device, dtype=matrices.dtype).expand_as(matrices)
    columns = list(torch.cat([matrices, identity], 1).unbind(2))  # 3 of (B, 6): they become orthogonal; their turns
    for _ in range(SWEEPS):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            first, second = columns[p], columns[q]
            off = (first * second)[:, :3].sum(1, keepdim=True)
            half = (second**2 - first**2)[:, :3].sum(1, keepdim=True) / 2
            # The tangent of the smaller angle after which the two are orthogonal; 0 where they are.
            size = half.abs() + (half**2 + off**2).sqrt()
            tangent = torch.where(half < 0, -off, off) / size.clamp_min(torch.finfo(off.dtype).tiny)
            cosine = (1 + tangent**2).rsqrt()
            columns[p] = cosine * (first - tangent * second)
            columns[q] = cosine * (second + tangent * first)
    both = torch.stack(columns, 2)
    return both[:, :3].norm(dim=1), both[:, 3:]


def sliced(
    picture: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor, places: Tensor, rotations: Tensor
) -> Tensor:
    """Move the colours of `picture` along random axes until they are distributed as those of `other`.

    In each round the colours are seen along each axis of each basis: there, equally many of both in order say where
    each colour should go. Colours go the mean of all that; those beyond the sample go as far as its outermost.

    Args:
        picture: `(B, 3, H, W)`.
        mask: of it.
        other: `(B, 3, H, W)`.
        other_mask: of it.
        places: `(S,)` rising, in [0, 1): where in the masks the sample is taken.
        rotations: `(N, M, 3, 3)`: N rounds of M bases.
    """
    pixels = picture.flatten(2)
    own, goal = sampled(picture, mask, places), sampled(other, other_mask, places)  # (B, 3, S)
    for bases in rotations:
        own_way, pixels_way = torch.zeros_like(own), torch.zeros_like(pixels)
        for basis in bases:
            back = basis.T.expand(len(own), 3, 3)
            ordered, order = (basis @ torch.cat([own, goal])).sort(2)
            change = ordered[len(own) :] - ordered[: len(own)]
            own_way.baddbmm_(back, torch.empty_like(own).scatter_(2, order[: len(own)], change))
            pixels_way.baddbmm_(back, looked_up(pixels, basis, ordered[: len(own)], change))
        own, pixels = own.add(own_way, alpha=1 / len(bases)), pixels.add(pixels_way, alpha=1 / len(bases))
    return pixels.reshape(picture.shape)


def sampled(colors: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    """`(B, 3, S)`: the colours at `places` (0: the first, 1: beyond the last) of the pixels whose mask is above 0.5."""
    inside = (mask > 0.5).flatten(1)  # (B, P)
    so_far = inside.cumsum(1, dtype=torch.float32)  # exact up to 4096 x 4096 px
    all_of_them = so_far[:, -1:]
    wanted = ((places * all_of_them).floor() + 1).minimum(all_of_them)  # float32 may round up
    index = torch.searchsorted(so_far, wanted)  # (B, S)
    return colors.flatten(2).gather(2, index[:, None].expand(-1, 3, -1))


def looked_up(pixels: Tensor, basis: Tensor, knots: Tensor, heights: Tensor) -> Tensor:
    """The curves through `heights` at `knots`, at each pixel's place along three axes; level beyond the last knots.

    The curves are first sampled at `STEPS` even places, of which the nearest is found without a search.

    Args:
        pixels: `(B, 3, P)`.
        basis: `(3, 3)`, an axis a row.
        knots: `(B, 3, S)` rising, S >= 2.
        heights: `(B, 3, S)`.

    Returns:
        `(B, 3, P)`, a curve of each axis.

    >>> knots, pixels = torch.tensor([0.0, 1.0, 3.0]).repeat(1, 3, 1), torch.tensor([-1.0, 0.5, 3.5]).expand(1, 3, -1)
    >>> looked_up(pixels, torch.eye(3), knots, 10 * knots)[0, 0].round().tolist()
    [0.0, 5.0, 30.0]
    """
    low = knots[..., :1]
    scale = (STEPS - 1) / (knots[..., -1:] - low).clamp_min(1e-6)  # (B, 3, 1): steps a unit
    even = low + torch.arange(STEPS, device=knots.device) / scale  # (B, 3, STEPS)
    after = torch.searchsorted(knots, even).clamp(1, knots.shape[2] - 1)
    near, far = knots.gather(2, after - 1), knots.gather(2, after)
    part = ((even - near) / (far - near).clamp_min(1e-9)).clamp(0, 1)
    table = torch.lerp(heights.gather(2, after - 1), heights.gather(2, after), part)
    place = torch.baddbmm(0.5 - low * scale, basis * scale, pixels)  # all of `(basis @ pixels - low) * scale` at once
    return table.gather(2, place.clamp_(0, STEPS - 1).long())


MAPS: dict[str, Callable[..., Tensor]] = {"rct": rct, "lct": lct, "mkl": mkl, "idt": sliced, "sot": sliced}
