"""Differences pixel by pixel, and what each pixel counts.

- `weighted_mean`: the mean under a map of weights
- `batch_mean`: the same as losses take it, where several processes may share a batch
- `pixel_weights`: that map, from the hull and from where eyes and mouth are
- `absolute`, `squared`: L1 and L2
- `edges`: the same of the steps between neighbours
- `mask_error`: of masks
"""

import torch
from torch import Tensor

from visagist.training.distributed import part_of_mean, whole


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `(B, C, H, W)` values under `(B, 1, H, W)` weights, over everything.

    >>> weighted_mean(torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[3.0, 1.0]]]])).item()
    2.0
    """
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp_min(1e-6)


def batch_mean(values: Tensor, weights: Tensor) -> Tensor:
    """`weighted_mean` over the faces of all processes that share a batch, of which each gives its part.

    There may be more weights than faces, here and in all losses that take weights, masks or windows: those of this
    process's faces in other parts of the batch (`OptimizerOptions.accumulate`), after its own. They count in what is
    divided by and nowhere else, so that the parts of a batch add up to what it is as a whole.

    >>> values, weights = torch.rand(4, 3, 8, 8), torch.rand(4, 1, 8, 8)
    >>> parts = batch_mean(values[:3], weights) + batch_mean(values[3:], weights.roll(1, 0))
    >>> torch.allclose(parts, batch_mean(values, weights))
    True
    """
    return (values * weights[: len(values)]).sum() / (whole(weights.sum()) * values.shape[1]).clamp_min(1e-6)


def pixel_weights(hull: Tensor, importance: Tensor, outside: float, eyes_mouth: float, masked: bool) -> Tensor:
    """What each pixel counts.

    Args:
        hull: `(B, 1, H, W)` in [0, 1].
        importance: `(B, 1, H, W)` in [0, 1]: 1 at eyes and mouth, 0 on plain skin.
        outside: what a pixel outside the hull counts where plain skin counts 1 more.
        eyes_mouth: how much more than plain skin a pixel of importance 1 counts.
        masked: False where a pixel outside the hull counts as much as skin.

    Returns:
        `(B, 1, H, W)` float32, above 0 unless `outside` is 0.

    >>> pixel_weights(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0]), 0.25, 8.0, True).tolist()
    [0.25, 1.25, 9.25]
    >>> pixel_weights(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0]), 0.25, 8.0, False).tolist()
    [1.0, 1.0, 9.0]
    """
    if not masked:
        return 1 + hull * (eyes_mouth * importance)
    return outside + hull * (1 + eyes_mouth * importance)


def absolute(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference (L1): every step towards the truth counts alike, which keeps edges.

    >>> absolute(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.25), torch.ones(1, 1, 4, 4)).item()
    0.25
    """
    return batch_mean((x - y).abs(), weights)


def squared(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean squared difference (L2, MSE): large differences, such as of colour and light, count most.

    >>> squared(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.25), torch.ones(1, 1, 4, 4)).item()
    0.0625
    """
    return batch_mean((x - y) ** 2, weights)


def edges(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbouring pixels: blur costs, a shift of brightness does not.

    >>> x = torch.rand(1, 3, 8, 8) / 2
    >>> round(edges(x, x + 0.3, torch.ones(1, 1, 8, 8)).item(), 5)
    0.0
    """
    difference = x - y
    across = batch_mean((difference[..., 1:] - difference[..., :-1]).abs(), weights[..., 1:])
    down = batch_mean((difference[..., 1:, :] - difference[..., :-1, :]).abs(), weights[..., 1:, :])
    return (across + down) / 2


def mask_error(mask: Tensor, hull: Tensor) -> Tensor:
    """Mean squared difference of two `(B, 1, H, W)` masks in [0, 1].

    >>> mask_error(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item()
    1.0
    """
    return part_of_mean(torch.nn.functional.mse_loss(mask, hull[: len(mask)]), len(mask), len(hull))
