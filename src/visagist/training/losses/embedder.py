"""SFace on a network's faces, with gradients.

SFace, never dlib's network: that one judges renders (`evaluation/embedder.py`), and would praise a network that had
learnt to please it whatever its faces look like.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.core.types import Coverage
from visagist.faces.align import COVERAGES, compose, crop_matrix, invert, mean_mesh, similarity
from visagist.faces.identity import TEMPLATE, five_points
from visagist.zoo import locate
from visagist.zoo.onnx_module import OnnxModule

SIDE = 112  # px, SFace's input


def aligned_grid(coverage: Coverage, size: int) -> tuple[Tensor, int]:
    """The way from SFace's picture back into a network's faces: one for all of them, because face space is.

    The mean face's five points are laid upon ArcFace's template as `faces.embed` does with each face's own.

    Args:
        coverage: how much of the head the faces show.
        size: their side in px.

    Returns:
        `(1, 112, 112, 2)` float32 for `grid_sample` (`align_corners=False`), and by what factor to reduce the faces
        before, a divisor of `size`: large faces are averaged, as sampling single pixels of them would alias.

    Raises:
        ConfigError: the coverage does not show eyes, nose and mouth.

    >>> grid, factor = aligned_grid("full", 512)
    >>> grid.shape, factor
    (torch.Size([1, 112, 112, 2]), 4)
    """
    points = five_points(mean_mesh())  # (5, 2) in face space
    square = COVERAGES[coverage]
    if (np.abs(points - [0.0, square.y]) > square.side / 2).any():
        raise ConfigError(f"coverage '{coverage}' does not show eyes, nose and mouth: leave the identity loss at 0")
    to_faces = compose(crop_matrix(np.eye(2, 3), coverage, size), invert(similarity(points, TEMPLATE)))
    reduction = np.sqrt(abs(np.linalg.det(to_faces[:, :2])))  # px of the faces a px of SFace's
    factor = max(divisor for divisor in range(1, max(1, round(reduction)) + 1) if size % divisor == 0)
    line = np.arange(SIDE, dtype=np.float64)
    places = np.stack(np.meshgrid(line, line, indexing="xy"), -1) @ to_faces[:, :2].T + to_faces[:, 2]  # (112, 112, 2)
    return torch.from_numpy((2 * places + 1) / size - 1).float()[None], factor


def aligned(faces: Tensor, grid: Tensor, factor: int) -> Tensor:
    """Faces as SFace wants to see them.

    Args:
        faces: `(B, C, R, R)`, such as RGB in [0, 1].
        grid: `(1, 112, 112, 2)` of `aligned_grid`, on the same device.
        factor: of `aligned_grid`.

    Returns:
        `(B, C, 112, 112)` float32; beyond the faces' rim 0.
    """
    faces = F.avg_pool2d(faces.float(), factor) if factor > 1 else faces.float()
    return F.grid_sample(faces, grid.expand(len(faces), -1, -1, -1), align_corners=False)


class FaceEmbedder(nn.Module):
    """SFace on a network's faces, frozen; every gradient goes to the faces.

    The file is the one that `faces.embed` uses (hash-checked, or the user's own). Beyond the faces' rim everything is
    black: `mid` shows less than SFace looks at, and embeddings then have 0.90 in common with those of the whole picture
    (0.81 where the border went on instead), 0.95 with `full`, 0.98 with `whole`, but only 0.72 with `half`.

    Raises:
        ConfigError: the coverage does not show eyes, nose and mouth.
        WeightsError: the file is missing, altered, or has nodes that cannot be run here.
    """

    grid: Tensor

    def __init__(self, coverage: Coverage, size: int) -> None:
        super().__init__()
        grid, self.factor = aligned_grid(coverage, size)
        self.register_buffer("grid", grid, persistent=False)
        self.network = OnnxModule(locate("sface"))

    def align(self, faces: Tensor) -> Tensor:
        """`(B, 3, R, R)` faces as SFace wants to see them, `(B, 3, 112, 112)`, both RGB in [0, 1]."""
        return aligned(faces, self.grid, self.factor)

    def embed(self, aligned: Tensor) -> Tensor:
        """`(B, 128)` embeddings, unit length, of `(B, 3, 112, 112)` aligned RGB in [0, 1]."""
        return F.normalize(self.network(aligned * 255).float(), dim=1)

    def forward(self, faces: Tensor) -> Tensor:
        """`(B, 128)` embeddings, unit length, of `(B, 3, R, R)` faces, RGB in [0, 1]."""
        return self.embed(self.align(faces))
