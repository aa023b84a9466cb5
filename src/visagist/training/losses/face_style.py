"""The swap in the target's light and colours, with its own features.

Asked for the target's local colours alone, with or without their deviations (as style is transferred in Huang and
Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization"), a decoder darkened half
of a face by a lattice of dark blots: that is easier than to draw shade, and nothing says that skin looks otherwise. So
the loss has a truth: the swap as the network predicted it when the cool-down began, relit.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.edges import edge_difference
from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import SwapPrediction, loss
from visagist.training.losses.ssim import multiscale_dssim

WINDOW = 1 / 8  # standard deviation of the Gaussian window, as a part of the picture's side: wider than an eye
GRID = 64  # px, the side below which pictures are not reduced; the window's deviation there is 8 px
DARKEST = 0.02  # added to colours whose ratio is taken: black has none


def local_means(picture: Tensor, mask: Tensor) -> Tensor:
    """Mean of each colour around each place, of the mask's inside alone.

    In a window, and not of the whole face: light falls on it from one side.

    Args:
        picture: `(B, C, H, W)` float32 in [0, 1].
        mask: `(B, 1, H, W)` in [0, 1]; what is outside does not leak in.

    Returns:
        `(B, C, h, w)`, with sides of 64 to 127 px if they were larger (halved until then): the window is so wide that
        nothing more could be seen.

    >>> means = local_means(torch.full((1, 3, 128, 128), 0.25), torch.ones(1, 1, 128, 128))
    >>> means.shape, round(means.max().item(), 4)
    (torch.Size([1, 3, 64, 64]), 0.25)
    """
    stack = _halved(torch.cat([picture * mask, mask], 1))  # (B, C + 1, h, w)
    rows, columns = (_window(side, stack) for side in stack.shape[-2:])
    stack = rows @ stack @ columns
    return stack[:, :-1] / stack[:, -1:].clamp_min(1e-4)


def _halved(planes: Tensor) -> Tensor:
    """Planes of 64 to 127 px from larger ones."""
    while min(planes.shape[-2:]) >= 2 * GRID:
        planes = F.avg_pool2d(planes, 2)
    return planes


def _window(side: int, like: Tensor) -> Tensor:
    """The Gaussian window as a symmetric matrix `(side, side)`; a row that leaves the picture sums to less than 1."""
    places = torch.arange(side, device=like.device, dtype=like.dtype) / (side * WINDOW)
    return torch.exp(-0.5 * (places[:, None] - places) ** 2) / (side * WINDOW * (2 * torch.pi) ** 0.5)


def relit(face: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """A face in another one's light and colours: each place times the ratio of their `local_means`, as light acts.

    Args:
        face: `(B, 3, H, W)` in [0, 1].
        other: the face that has the light, in the same place.
        mask: `(B, 1, H, W)` in [0, 1]: where the faces are.

    Returns:
        `(B, 3, H, W)` in [0, 1].

    >>> face, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    >>> bool((relit(face, face, mask) - face).abs().max() < 1e-6)
    True
    """
    ratio = (local_means(other, mask) + DARKEST) / (local_means(face, mask) + DARKEST)
    return (face * F.interpolate(ratio, face.shape[-2:], mode="bilinear")).clamp(0, 1)


@loss(
    help="The swap takes on light and colours of the target's face, where the merge's colour transfer does not do. "
    "Try 1; its features stay those that it had when the cool-down began.",
    of_swap=True,
    finishing=True,
    needs_before=True,
)
def face_style(swap: SwapPrediction) -> Tensor:
    """DSSIM, L1 and edges between the swap and its earlier self in the target's light, inside the hull, `(T,)`."""
    assert swap.before is not None
    truth = relit(swap.before, swap.target, swap.hull)
    difference = face_mean((swap.rgb - truth).abs(), swap.hull) + edge_difference(swap.rgb, truth, swap.hull)
    return multiscale_dssim(swap.rgb, truth, swap.hull) + difference
