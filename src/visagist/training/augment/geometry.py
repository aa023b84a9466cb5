"""Random similarity transforms and warps.

Coordinates are (x, y) in [-1, 1] across the image, as for `grid_sample`, so random numbers do not depend on its size.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.augment.options import Augmentation

REFERENCE_POINTS = 5  # control points per side of the grid that the strength of the warp refers to


def random_similarity(augmentation: Augmentation, may_flip: Tensor, generator: torch.Generator) -> Tensor:
    """Draw rotation, scale and shift; half of the faces for which `may_flip`, `(B,)` bool, is true are mirrored.

    Returns `(B, 2, 3)` matrices from output to input coordinates.
    """
    uniform = torch.rand(len(may_flip), 5, generator=generator) * 2 - 1
    angle = uniform[:, 0] * math.radians(augmentation.rotate)
    scale = (1 + augmentation.scale) ** uniform[:, 1]
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    mirror = torch.where(may_flip & (uniform[:, 2] < 0), -1.0, 1.0)
    shift = uniform[:, 3:] * 2 * augmentation.shift  # the side is 2 units long
    first, second = (cosine * mirror, -sine, shift[:, 0]), (sine * mirror, cosine, shift[:, 1])
    return torch.stack([*first, *second], 1).unflatten(1, (2, 3))


def random_warp(count: int, size: int, deviation: float, grids: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw smooth displacements, x and y independently: bicubic interpolation of a grid of control points.

    Args:
        count: number of faces, B.
        size: side in px, R.
        deviation: standard deviation of the control points of a 5x5 grid, as a fraction of the side; other grids use
            the same fraction of a cell, so that all are equally far from folding the face.
        grids: control points per side; each face draws one of them.
        generator: on the CPU.

    Returns `(B, R, R, 2)` displacements (x, y).
    """

    def smooth(faces: int, points: int) -> Tensor:
        cell = (REFERENCE_POINTS - 1) / (points - 1)
        control = torch.randn(faces, 2, points, points, generator=generator) * 2 * deviation * cell
        # Interpolating unit vectors gives one matrix for rows and columns, faster than interpolating each warp.
        unit = torch.eye(points)[None, None]
        curves = F.interpolate(unit, (points, size), mode="bicubic", align_corners=True)[0, 0]
        return torch.einsum("iy,bkij,jx->byxk", curves, control, curves)

    if len(grids) == 1:
        return smooth(count, grids[0])
    choice = torch.randint(len(grids), (count,), generator=generator)
    warp = torch.empty(count, size, size, 2)
    for i, points in enumerate(grids):
        faces = (choice == i).nonzero()[:, 0]
        warp[faces] = smooth(len(faces), points)
    return warp


def sample(warped: Tensor, planes: Tensor, similarity: Tensor, warp: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Sample `(B, C, S, S)` crops, S = R * margin: `warped` with the warp, `planes` without it."""
    size = warp.shape[1]
    line = (torch.arange(size, device=planes.device) + 0.5) / size * 2 - 1
    base = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)  # (R, R, 2)
    turn, shift = similarity[:, :, :2], similarity[:, None, None, :, 2]
    plain_grid = torch.einsum("bij,yxj->byxi", turn, base) + shift
    warped_grid = torch.einsum("bij,byxj->byxi", turn, base + warp) + shift
    return (
        F.grid_sample(warped, warped_grid / margin, padding_mode="border", align_corners=False),
        F.grid_sample(planes, plain_grid / margin, padding_mode="border", align_corners=False),
    )
