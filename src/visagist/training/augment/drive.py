"""Faces driven by landmarks: one subject's texture on another's expression.

A driven face has the expression, pose, eyes and mouth of one crop and the skin and face shape of another. As input with
the first crop as ground truth, it teaches the encoder to keep expression and drop identity.

Points are `(B, N, 2)` in crop widths from the top left corner of the crop.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 25  # per side of the grid on which displacements are computed
REACH = 0.025  # crop widths: standard deviation of a landmark's influence
BLUR = 8  # px, size of the finest detail that takes the colour of the texture


def move(planes: Tensor, points: Tensor, to: Tensor) -> Tensor:
    """Warp `(B, C, S, S)` crops so that `points` move to `to`.

    Displacements are means over landmarks, weighted by a Gaussian of the distance (Nadaraya-Watson regression), so the
    surroundings of the face move with the nearest landmarks.
    """
    side, device = planes.shape[-1], planes.device
    cells = _centres(CELLS, device).flatten(0, 1).expand(len(planes), -1, -1)  # (B, CELLS², 2)
    weights = torch.softmax(torch.cdist(cells, to).square() / (-2 * REACH**2), -1)
    displacement = (weights @ (points - to)).unflatten(1, (CELLS, CELLS)).permute(0, 3, 1, 2)
    displacement = F.interpolate(displacement, (side, side), mode="bilinear").permute(0, 2, 3, 1)
    grid = 2 * (_centres(side, device) + displacement) - 1
    return F.grid_sample(planes.contiguous(), grid, padding_mode="border", align_corners=False)


def drive(planes: Tensor, points: Tensor, texture: Tensor, texture_points: Tensor, to: Tensor) -> Tensor:
    """Draw faces with the eyes and mouth of `planes` and everything else from `texture`.

    Args:
        planes: `(B, 5, S, S)` crops in [0, 1]: RGB, hull, and importance, which exceeds 0.5 at eyes and mouth only.
        points: their landmarks.
        texture: `(B, 3, S, S)` RGB in [0, 1] of the other crops.
        texture_points: their landmarks.
        to: landmarks of the result: `points`, perhaps with another face shape.

    Returns:
        `(B, 3, S, S)` RGB in [0, 1].
    """
    own, other = move(planes, points, to), move(texture, texture_points, to)
    features = ((own[:, 4:5] - 0.3) / 0.4).clamp(0, 1)
    coarse = F.avg_pool2d(F.avg_pool2d(other - own[:, :3], BLUR), 3, 1, 1, count_include_pad=False)
    recolored = own[:, :3] + F.interpolate(coarse, planes.shape[-2:], mode="bilinear")
    return (features * recolored + (1 - features) * other).clamp(0, 1)


def _centres(count: int, device: torch.device) -> Tensor:
    """`(count, count, 2)` centres (x, y) of cells that divide the unit square."""
    line = (torch.arange(count, device=device) + 0.5) / count
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
