"""Figures of held-out faces: how well everybody is drawn, and whom the swap looks like.

- `judge`: all figures; `held_out`: the faces
- `swap_similarity`: SFace similarity of the target's faces, drawn as somebody else, to that person
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.faces import Coverage
from visagist.training.data.crops import Side
from visagist.training.losses import aligned, aligned_grid, masked_psnr, masked_ssim
from visagist.zoo.sessions import session

Predict = Callable[[Tensor, str], tuple[Tensor, Tensor]]

FACES = 32  # of each person at most
EMBEDDED = 12  # of the target at most: an embedding takes 17 ms


def judge(sides: Mapping[str, Side], predict: Predict, size: int, coverage: Coverage) -> dict[str, float]:
    """Figures of held-out faces.

    Args:
        sides: everybody's crops by name, the target second.
        predict: draws `(B, 3, R, R)` faces as somebody: `(rgb, mask)`.
        size: R.
        coverage: of the faces.

    Returns:
        Of each person `ssim_NAME` and `psnr_NAME` (dB) inside the hull, drawn as themselves; and of each who can appear
        in the target `similarity_NAME` of the swap to them, -1 to 1, where embeddings are known and faces show enough
        to tell. As in a merge, above 0.6 is the same person, below 0.35 another.
    """
    figures: dict[str, float] = {}
    for name, side in sides.items():
        truth = held_out(side, FACES, size)
        rgb, _ = predict(truth[:, :3], name)
        figures[f"ssim_{name}"] = masked_ssim(rgb, truth[:, :3], truth[:, 3:4])
        figures[f"psnr_{name}"] = masked_psnr(rgb, truth[:, :3], truth[:, 3:4])
    target = list(sides)[1]
    for name, side in sides.items():
        if name != target and len(side.centroid):
            faces = held_out(sides[target], EMBEDDED, size)[:, :3]
            similarity = swap_similarity(faces, *predict(faces, name), np.array(side.centroid), coverage)
            figures |= {} if similarity is None else {f"similarity_{name}": similarity}
    return figures


def held_out(side: Side, count: int, size: int) -> Tensor:
    """`(B, 5, size, size)`: at most `count` held-out crops of one person without their margin."""
    crops = side.judged(count)
    edge = (crops.shape[-1] - size) // 2
    return crops[..., edge : edge + size, edge : edge + size]


def swap_similarity(
    faces: Tensor, rgb: Tensor, mask: Tensor, centroid: NDArray[np.floating], coverage: Coverage
) -> float | None:
    """Mean SFace similarity of swapped faces to a person.

    Args:
        faces: `(B, 3, R, R)` of the target, RGB in [0, 1].
        rgb: what was drawn of them; laid over them by `mask`, as in a merge.
        mask: `(B, 1, R, R)` in [0, 1].
        centroid: `(128,)` the person's mean embedding.
        coverage: of the faces.

    Returns:
        -1 to 1; None where the coverage does not show eyes, nose and mouth.
    """
    try:
        grid, factor = aligned_grid(coverage, faces.shape[-1])
    except ConfigError:
        return None
    swap = (faces + mask * (rgb - faces)).float().cpu()
    network = session("sface", threads=1)
    found = [network.run(None, {"data": (255 * face[None]).numpy()})[0] for face in aligned(swap, grid, factor)]
    embeddings = F.normalize(torch.from_numpy(np.concatenate([np.asarray(each, np.float32) for each in found])))
    person = F.normalize(torch.from_numpy(np.asarray(centroid, np.float32)), dim=0)
    return float((embeddings @ person).mean())
