"""Validation metrics: reconstruction of each identity, and similarity of the swap to it."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.core.types import Coverage
from visagist.training.data import IdentityDataset
from visagist.training.losses.embedder import aligned, aligned_grid
from visagist.training.losses.ssim import masked_psnr, masked_ssim
from visagist.training.stability import output_variation
from visagist.zoo import session

Predict = Callable[[Tensor, str], tuple[Tensor, Tensor]]

MAX_FACES = 32  # per identity
MAX_EMBEDDED = 12  # faces of the target; an embedding takes 17 ms


def validate(
    datasets: Mapping[str, IdentityDataset], predict: Predict, size: int, coverage: Coverage
) -> dict[str, float]:
    """Compute the validation metrics.

    Args:
        datasets: crops by identity, the target second.
        predict: maps `(B, 3, R, R)` faces and an identity to `(rgb, mask)`.
        size: R.
        coverage: of the faces.

    Returns:
        For each identity, `ssim_NAME` and `psnr_NAME` (dB) of its reconstruction inside the hull, and for two or more
        faces `variation_NAME` (`output_variation`). For each identity but the target, if embeddings are known,
        `similarity_NAME`: SFace similarity of the swap, -1 to 1; above 0.6 the same subject, below 0.35 another.
    """
    metrics: dict[str, float] = {}
    for name, dataset in datasets.items():
        truth = validation_faces(dataset, MAX_FACES, size)
        rgb, _ = predict(truth[:, :3], name)
        metrics[f"ssim_{name}"] = masked_ssim(rgb, truth[:, :3], truth[:, 3:4])
        metrics[f"psnr_{name}"] = masked_psnr(rgb, truth[:, :3], truth[:, 3:4])
        if len(truth) > 1:
            metrics[f"variation_{name}"] = output_variation(rgb, truth[:, :3], truth[:, 3:4])
    target = list(datasets)[1]
    for name, dataset in datasets.items():
        if name != target and len(dataset.centroid):
            faces = validation_faces(datasets[target], MAX_EMBEDDED, size)[:, :3]
            similarity = swap_similarity(faces, *predict(faces, name), np.array(dataset.centroid), coverage)
            metrics |= {} if similarity is None else {f"similarity_{name}": similarity}
    return metrics


def validation_faces(dataset: IdentityDataset, count: int, size: int) -> Tensor:
    """At most `count` validation crops of an identity without their margin, `(B, 5, size, size)`."""
    crops = dataset.validation_crops(count)
    edge = (crops.shape[-1] - size) // 2
    return crops[..., edge : edge + size, edge : edge + size]


def swap_similarity(
    faces: Tensor, rgb: Tensor, mask: Tensor, centroid: NDArray[np.floating], coverage: Coverage
) -> float | None:
    """Mean SFace similarity of swapped faces to an identity.

    Args:
        faces: `(B, 3, R, R)` of the target, RGB in [0, 1].
        rgb: prediction, composited over the faces with `mask`.
        mask: `(B, 1, R, R)` in [0, 1].
        centroid: `(128,)` mean embedding.
        coverage: of the faces.

    Returns:
        -1 to 1; None if the coverage does not show eyes, nose and mouth.
    """
    try:
        grid, factor = aligned_grid(coverage, faces.shape[-1])
    except ConfigError:
        return None
    swap = (faces + mask * (rgb - faces)).float().cpu()
    network = session("sface", threads=1)
    found = [network.run(None, {"data": (255 * face[None]).numpy()})[0] for face in aligned(swap, grid, factor)]
    embeddings = F.normalize(torch.from_numpy(np.concatenate([np.asarray(each, np.float32) for each in found])))
    wanted = F.normalize(torch.from_numpy(np.asarray(centroid, np.float32)), dim=0)
    return float((embeddings @ wanted).mean())
