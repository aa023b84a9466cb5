"""Differentiable SFace embeddings of a network's faces.

Training against SFace keeps the network that evaluates renders (`evaluation/embedder.py`) an independent judge.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.core.types import Coverage
from visagist.faces.align import COVERAGES, compose, crop_matrix, invert, mean_mesh, similarity
from visagist.faces.identity import TEMPLATE, five_points
from visagist.zoo import locate
from visagist.zoo.onnx_module import OnnxModule

SIDE = 112  # px, SFace's input


@lru_cache(maxsize=4)
def embedder(coverage: Coverage, size: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Frozen SFace: a function from `(B, 3, size, size)` RGB in [0, 1] to `(B, 128)` embeddings of unit length.

    Pixels outside the crop are black. Compared with embeddings of the whole image, the cosine similarity is 0.72 for
    `half`, 0.90 for `mid` (0.81 if the border is replicated), 0.95 for `full` and 0.98 for `whole`.

    Raises:
        ConfigError: the coverage does not show eyes, nose and mouth.
        WeightsError: SFace's file is missing, altered, or has nodes without gradients.
    """
    grid, factor = aligned_grid(coverage, size)
    grid, network = grid.to(device), OnnxModule(locate("sface")).to(device)
    return lambda faces: F.normalize(network(aligned(faces, grid, factor) * 255).float(), dim=1)


def aligned_grid(coverage: Coverage, size: int) -> tuple[Tensor, int]:
    """The grid that samples SFace's input from aligned faces of `size` px, and the factor to downscale them by first.

    It maps the mean face's five points to ArcFace's template; `faces.embed` maps each face's own.

    Returns:
        `(1, 112, 112, 2)` float32 for `grid_sample` (`align_corners=False`); a divisor of `size` to avoid aliasing.

    Raises:
        ConfigError: the coverage does not show eyes, nose and mouth.
    """
    points = five_points(mean_mesh())  # (5, 2) in face space
    square = COVERAGES[coverage]
    if (np.abs(points - [0.0, square.y]) > square.side / 2).any():
        raise ConfigError(f"coverage '{coverage}' does not show eyes, nose and mouth; leave the identity loss at 0")
    to_faces = compose(crop_matrix(np.eye(2, 3), coverage, size), invert(similarity(points, TEMPLATE)))
    reduction = np.sqrt(abs(np.linalg.det(to_faces[:, :2])))
    factor = max(divisor for divisor in range(1, max(1, round(reduction)) + 1) if size % divisor == 0)
    line = np.arange(SIDE, dtype=np.float64)
    places = np.stack(np.meshgrid(line, line, indexing="xy"), -1) @ to_faces[:, :2].T + to_faces[:, 2]  # (112, 112, 2)
    return torch.from_numpy((2 * places + 1) / size - 1).float()[None], factor


def aligned(faces: Tensor, grid: Tensor, factor: int) -> Tensor:
    """`(B, C, 112, 112)` float32 input of SFace from `(B, C, R, R)` faces; `grid` and `factor` are `aligned_grid`'s."""
    faces = F.avg_pool2d(faces.float(), factor) if factor > 1 else faces.float()
    return F.grid_sample(faces, grid.expand(len(faces), -1, -1, -1), align_corners=False)
