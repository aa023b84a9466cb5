"""Style: the swap takes on the target's light and colours, without taking on the target's features.

- `local_statistics`: mean and deviation of each colour in a Gaussian window, inside a mask
- `face_style`: their difference inside the mask
- `background_style`: everything that differs outside the mask

Both look at the swap - what the source's decoder draws from the target's latent - which no other picture loss sees,
because it has no truth to be compared with. So they need one more decoding of the target's part of a batch. Give them
that of `Swapper.decode_for_swap`, from which only what draws learns: where what encodes (the encoder, the inters of
`liae` and `amp`) learns too, the easiest way to draw the target's colours is to carry the target's face along.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.pixel import batch_mean, squared
from visagist.training.losses.similarity import dssim

WINDOW = 1 / 16  # standard deviation of the Gaussian window, as a part of the picture's side
GRID = 64  # px, the side below which pictures are not reduced; the window's deviation there is 4 px
EPSILON = 1e-5  # of a variance, as in AdaIN: a root has no slope at 0


def local_statistics(picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation of each colour around each place, of the mask's inside alone.

    The statistics by which adaptive instance normalisation transfers style (Huang and Belongie 2017, "Arbitrary Style
    Transfer in Real-time with Adaptive Instance Normalization"), but of the colours themselves and in a window whose
    standard deviation is a sixteenth of the side: light falls on a face from one side.

    Args:
        picture: `(B, C, H, W)` float32 in [0, 1].
        mask: `(B, 1, H, W)` in [0, 1]; what is outside does not leak in.

    Returns:
        Mean `(B, C, h, w)`, deviation `(B, C, h, w)` and mask `(B, 1, h, w)`, with sides of 64 to 127 px if they were
        larger (halved until then): the window is so wide that nothing more could be seen.

    >>> picture = torch.full((1, 3, 128, 128), 0.25)
    >>> mean, deviation, mask = local_statistics(picture, torch.ones(1, 1, 128, 128))
    >>> mean.shape, round(mean.max().item(), 4), round(deviation.max().item(), 4)
    (torch.Size([1, 3, 64, 64]), 0.25, 0.0032)
    """
    channels = picture.shape[1]
    inside = picture * mask
    stack = torch.cat([inside, picture * inside, mask], 1)  # (B, 2C + 1, H, W)
    stack = _halved(stack)
    small = stack[:, 2 * channels :]
    rows, columns = (_window(side, stack) for side in stack.shape[-2:])
    stack = rows @ stack @ columns  # (B, 2C + 1, h, w)
    mean, mean_square, share = stack.split([channels, channels, 1], 1)
    share = share.clamp_min(1e-4)
    mean, mean_square = mean / share, mean_square / share
    variance = (mean_square - mean**2).clamp_min(0)
    return mean, (variance + EPSILON).sqrt(), small


def _halved(planes: Tensor) -> Tensor:
    """Planes of 64 to 127 px from larger ones."""
    while min(planes.shape[-2:]) >= 2 * GRID:
        planes = F.avg_pool2d(planes, 2)
    return planes


def _window(side: int, like: Tensor) -> Tensor:
    """The Gaussian window as a symmetric matrix `(side, side)`; a row that leaves the picture sums to less than 1."""
    places = torch.arange(side, device=like.device, dtype=like.dtype) / (side * WINDOW)
    return torch.exp(-0.5 * (places[:, None] - places) ** 2) / (side * WINDOW * (2 * torch.pi) ** 0.5)


def face_style(swap: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """How far the swap's light and colours are from those of the target's own face: inside the mask.

    Compared are the swap and the real crop of the target that was encoded, by their `local_statistics`: squared
    differences of means and of deviations.

    Args:
        swap: `(B, 3, H, W)` in [0, 1]: the source's decoder on the target's latent.
        target: the target's real crops, the same shape.
        mask: `(B, 1, H, W)` in [0, 1]: the target's hull.

    Returns:
        A scalar >= 0; about the square of how far the colours are off.

    >>> target, mask = torch.rand(1, 3, 32, 32) / 2, torch.ones(1, 1, 32, 32)
    >>> round(face_style(target + 0.1, target, mask).item(), 4)
    0.01
    """
    own = mask[: len(swap)]
    mean_swap, deviation_swap, _ = local_statistics(swap, own)
    mean_target, deviation_target, _ = local_statistics(target, own)
    return batch_mean((mean_swap - mean_target) ** 2 + (deviation_swap - deviation_target) ** 2, _halved(mask))


def background_style(swap: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """How far the swap is from the target's own crop outside the mask: structure (`dssim`) and squared difference.

    A swap that continues the target's hair, ears and background around the face leaves the merge no seam to hide.
    Inside the mask the target's own pixels stand in for the swap's, so that windows across the rim see no difference
    there and the face gets no gradient.

    Args:
        swap: `(B, 3, H, W)` in [0, 1]: the source's decoder on the target's latent.
        target: the target's real crops, the same shape.
        mask: `(B, 1, H, W)` in [0, 1]: the target's hull.

    Returns:
        A scalar >= 0; 0 where the mask covers everything.

    >>> target, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    >>> background_style(1 - target, target, mask).item()
    0.0
    """
    outside = 1 - mask
    swap = target + (swap - target) * outside[: len(swap)]
    return dssim(swap, target, outside) + squared(swap, target, outside)
