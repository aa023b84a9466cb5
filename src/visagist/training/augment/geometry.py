"""Where pixels go: turn, scale, shift, mirror, and the random warp.

- `random_similarity`, `random_warp`: the draws, on the CPU, from a generator
- `base_grid`, `sample`: applying them

Coordinates are (x, y) in [-1, 1] over the side: a unit that does not depend on the size.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.augment.options import Augmentation

CONTROLS = 5  # control points a side of the grid by which the warp's strength is counted


def random_similarity(augmentation: Augmentation, may_flip: Tensor, generator: torch.Generator) -> Tensor:
    """Rotation, scale, shift and perhaps flip of faces.

    Args:
        augmentation: how far they go.
        may_flip: `(B,)` bool, the faces of which half are mirrored.
        generator: of the CPU.

    Returns:
        `(B, 2, 3)` float32: takes output coordinates in [-1, 1] to input coordinates in the same unit.
    """
    uniform = torch.rand(len(may_flip), 5, generator=generator) * 2 - 1
    angle = uniform[:, 0] * math.radians(augmentation.rotate)
    scale = (1 + augmentation.scale) ** uniform[:, 1]
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    mirror = torch.where(may_flip & (uniform[:, 2] < 0), -1.0, 1.0)
    shift = uniform[:, 3:] * 2 * augmentation.shift  # the side is 2 units long
    rows = [torch.stack([cosine * mirror, -sine, shift[:, 0]], 1), torch.stack([sine * mirror, cosine, shift[:, 1]], 1)]
    return torch.stack(rows, 1)


def random_warp(count: int, size: int, deviation: float, grids: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Smooth random displacements, x and y drawn independently.

    Args:
        count: faces.
        size: side in px.
        deviation: standard deviation of a control point of a 5x5 grid, as a part of the side; in other grids the same
            part of a cell, so that no grid folds the face sooner than another.
        grids: control points a side, 2 or more; each face draws one of them.
        generator: of the CPU.

    Returns:
        `(B, size, size, 2)` float32 displacements (x, y) in units in which the side is 2 long.
    """

    def smooth(faces: int, points: int) -> Tensor:
        cell = (CONTROLS - 1) / (points - 1)
        control = torch.randn(faces, 2, points, points, generator=generator) * 2 * deviation * cell
        rows = torch.eye(points)[:, None, None].expand(-1, 1, 2, -1)  # one point up at a time, over two equal lines
        curve = F.interpolate(rows, (2, size), mode="bicubic", align_corners=True)[:, 0, 0].T  # (R, points): a matrix
        return torch.einsum("yi,bkij,xj->byxk", curve, control, curve)

    if len(grids) == 1:
        return smooth(count, grids[0])
    choice = torch.randint(len(grids), (count,), generator=generator)
    warp = torch.empty(count, size, size, 2)
    for i, points in enumerate(grids):
        faces = (choice == i).nonzero()[:, 0]
        warp[faces] = smooth(len(faces), points)
    return warp


def base_grid(size: int) -> Tensor:
    """`(size, size, 2)` coordinates (x, y) of pixel centres in [-1, 1].

    >>> base_grid(2)[0].tolist()
    [[-0.5, -0.5], [0.5, -0.5]]
    """
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)


def sample(planes: Tensor, similarity: Tensor, warp: Tensor, margin: float, seen: int) -> tuple[Tensor, Tensor]:
    """Sample a batch of crops twice, with the warp and without.

    Args:
        planes: `(B, C, S, S)` float32, S = R * margin.
        similarity: `(B, 2, 3)` as of `random_similarity`, on the same device.
        warp: `(B, R, R, 2)` as of `random_warp`, on the same device.
        margin: how much larger the crops are than what is sampled.
        seen: how many of the channels are sampled with the warp.

    Returns:
        `(B, seen, R, R)` warped, and `(B, C, R, R)` not warped.
    """
    base = base_grid(warp.shape[1]).to(planes.device)
    turn, shift = similarity[:, :, :2], similarity[:, None, None, :, 2]
    plain = torch.einsum("bij,yxj->byxi", turn, base) + shift  # (B, R, R, 2)
    warped = torch.einsum("bij,byxj->byxi", turn, base + warp) + shift
    return (
        F.grid_sample(planes[:, :seen], warped / margin, padding_mode="border", align_corners=False),
        F.grid_sample(planes, plain / margin, padding_mode="border", align_corners=False),
    )
