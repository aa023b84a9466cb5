"""Style: the swap takes on the target's light and colours, without taking on the target's features.

- `local_means`: the colour around each place, inside a mask
- `relit`: a face in another's light and colours
- `face_style`: how far the swap is from what it was, in the target's light
- `background_style`: everything that differs outside the mask

Both look at the swap - what the source's decoder draws from the target's latent - which no other picture loss sees,
because it has no truth to be compared with. So they need one more decoding of the target's part of a batch. Give them
that of `Swapper.decode_for_swap`, from which only what draws learns: where what encodes (the encoder, the inters of
`liae` and `amp`) learns too, the easiest way to draw the target's colours is to carry the target's face along.

For the same reason the face needs a truth. Asked for the target's local colours alone, with or without their deviations
(as style is transferred in Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance
Normalization"), a decoder darkened half of a face by a lattice of dark blots within 300 iterations: that is easier than
to draw shade, and nothing told it that skin looks otherwise. So it is given the swap as the network drew it when this
loss began to act, `relit`: the light is the target's, and everything finer what it was. (The average network's drawing
in its place follows each fault after some iterations, and the face blurs.)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.pixel import absolute, edges, squared
from visagist.training.losses.similarity import dssim

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


def face_style(swap: Tensor, known: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """How far the swap's light and colours are from those of the target's own face: inside the mask.

    Args:
        swap: `(B, 3, H, W)` in [0, 1]: the source's decoder on the target's latent.
        known: what the network of before this loss draws of the same, without a gradient.
        target: the target's real crops, the same shape.
        mask: `(B, 1, H, W)` in [0, 1]: the target's hull.

    Returns:
        A scalar >= 0: `dssim`, `absolute` and `edges`, as faces drawn as themselves are judged, between the swap and
        `known` in the target's light.

    >>> swap, mask = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    >>> round(face_style(swap, swap, swap, mask).item(), 4)
    0.0
    """
    truth = relit(known, target, mask[: len(swap)])
    return dssim(swap, truth, mask) + absolute(swap, truth, mask) + edges(swap, truth, mask)


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
