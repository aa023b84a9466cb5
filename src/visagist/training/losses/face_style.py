"""Transfer of the light and colours of the target's face to the swap.

Matching only local colour statistics (Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive
Instance Normalization") makes a decoder draw a lattice of dark blots, which is easier than shading. So the ground
truth is the network's own prediction at the start of the cool-down, relit.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.edges import edge_difference
from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import SwapPrediction, loss
from visagist.training.losses.ssim import multiscale_dssim

WINDOW = 1 / 8  # standard deviation of the Gaussian window, as a fraction of the image's side; wider than an eye
MIN_SIDE = 64  # px; images are halved while they stay this large
MIN_COLOR = 0.02  # added to colours before their ratio is taken


@loss(
    help="Make the swap match the light and colours of the target's face, where the merge's colour transfer is not "
    "enough. Try 1; facial features stay as they were when the cool-down began.",
    of_swap=True,
    finishing=True,
    needs_before=True,
)
def face_style(swap: SwapPrediction) -> Tensor:
    """DSSIM, L1 and edges between the swap and its relit earlier prediction, inside the hull, `(T,)`."""
    assert swap.before is not None
    truth = relit(swap.before, swap.target, swap.hull)
    difference = face_mean((swap.rgb - truth).abs(), swap.hull) + edge_difference(swap.rgb, truth, swap.hull)
    return multiscale_dssim(swap.rgb, truth, swap.hull) + difference


def relit(face: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Relight faces like others: multiply each pixel by the ratio of their `local_means`.

    Images are `(B, 3, H, W)` in [0, 1], the mask is `(B, 1, H, W)` in [0, 1].
    """
    ratio = (local_means(other, mask) + MIN_COLOR) / (local_means(face, mask) + MIN_COLOR)
    return (face * F.interpolate(ratio, face.shape[-2:], mode="bilinear")).clamp(0, 1)


def local_means(image: Tensor, mask: Tensor) -> Tensor:
    """Gaussian-weighted local means of `(B, C, H, W)` inside a `(B, 1, H, W)` mask in [0, 1].

    Images of 128 px and more are first halved to a side of 64 to 127 px.
    """
    stack = torch.cat([image * mask, mask], 1)
    while min(stack.shape[-2:]) >= 2 * MIN_SIDE:
        stack = F.avg_pool2d(stack, 2)
    rows, columns = (_window(side, stack) for side in stack.shape[-2:])
    stack = rows @ stack @ columns
    return stack[:, :-1] / stack[:, -1:].clamp_min(1e-4)


def _window(side: int, like: Tensor) -> Tensor:
    """The Gaussian window as a symmetric matrix `(side, side)`."""
    places = torch.arange(side, device=like.device, dtype=like.dtype) / (side * WINDOW)
    return torch.exp(-0.5 * (places[:, None] - places) ** 2) / (side * WINDOW * (2 * torch.pi) ** 0.5)
