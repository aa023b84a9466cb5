"""What lenses, movements, scalers and sensors do to a picture.

- `blur`: out of focus
- `motion_kernels`, `motion_blur`: moved
- `rescale`: small in the frame, and enlarged
- `add_noise`: noise or grain

Pictures are `(B, 3, R, R)` float32 RGB in [0, 1]; every face has its own strength. A filter that acts on rows and
columns alike is a matrix a face: `x → M x Mᵀ`, which takes any strength in one call.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def blur(rgb: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, normalised at the edge to the part of the window that lies inside.

    Args:
        rgb: `(B, 3, R, R)`.
        sigma: `(B,)` px, >= 0; 0 changes nothing.

    >>> x = torch.rand(2, 3, 16, 16)
    >>> bool((blur(x, torch.tensor([0.0, 3.0]))[0] == x[0]).all())
    True
    """
    place = torch.arange(rgb.shape[-1], device=rgb.device)
    distance = (place[:, None] - place).float() / sigma.clamp_min(1e-2)[:, None, None]  # (B, R, R)
    return _filtered(rgb, torch.exp(-0.5 * distance**2))


def rescale(rgb: Tensor, sides: Tensor) -> Tensor:
    """Make faces smaller and as large as before; bilinear, with the wider window that a smaller picture needs.

    Args:
        rgb: `(B, 3, R, R)`.
        sides: `(B,)` whole numbers of px, 1 to R; R changes nothing.

    >>> x = torch.rand(1, 3, 8, 8)
    >>> rescale(x, torch.tensor([1])).var((2, 3)).max().item() < 1e-6
    True
    """
    size = rgb.shape[-1]
    centre = torch.arange(size, device=rgb.device) + 0.5
    side = sides.to(rgb.dtype)[:, None, None]
    ratio = size / side
    down = (1 - (centre - centre[:, None] * ratio).abs() / ratio).clamp_min(0)  # (B, small, R)
    down = down / down.sum(2, keepdim=True).clamp_min(1e-6)
    place = torch.minimum((centre[:, None] / ratio - 0.5).clamp_min(0), side - 1)  # in the small picture
    up = (1 - (place - (centre - 0.5)).abs()).clamp_min(0)  # (B, R, small)
    return _filtered(rgb, up @ down)


def _filtered(rgb: Tensor, windows: Tensor) -> Tensor:
    """Filter rows and columns of each face by the rows of its `(R, R)` matrix, each divided by its sum."""
    matrix = (windows / windows.sum(2, keepdim=True))[:, None]  # (B, 1, R, R)
    return matrix @ rgb @ matrix.mT


def motion_kernels(length: Tensor, angle: Tensor, longest: float) -> Tensor:
    """The path of a point during an exposure: a straight line, smooth at its edges.

    Args:
        length: `(B,)` px, 0 to `longest`; 0 moves nothing.
        angle: `(B,)` radians.
        longest: px, by which the kernels' size is chosen.

    Returns:
        `(B, K, K)`, K odd, sum 1.

    >>> motion_kernels(torch.tensor([2.0]), torch.tensor([0.0]), 2.0)[0, 2].tolist()
    [0.0, 0.25, 0.5, 0.25, 0.0]
    """
    radius = int(longest / 2) + 1
    line = torch.arange(-radius, radius + 1, device=length.device).float()
    y, x = torch.meshgrid(line, line, indexing="ij")
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    half = length[:, None, None] / 2 - 0.5  # a pixel is 1 long itself
    along = x * cosine + y * sine
    outside = (along.abs() - half).clamp_min(0)
    across = y * cosine - x * sine
    kernels = (1 - (outside**2 + across**2).sqrt()).clamp_min(0)  # (B, K, K)
    return kernels / kernels.sum((1, 2), keepdim=True)


def motion_blur(rgb: Tensor, kernels: Tensor) -> Tensor:
    """Smear `(B, 3, R, R)` pictures, each by its `(K, K)` kernel; beyond its edge a picture goes on as it ends there.

    >>> x = torch.rand(1, 3, 8, 8)
    >>> still = motion_kernels(torch.zeros(1), torch.zeros(1), 4.0)
    >>> bool((motion_blur(x, still) == x).all())
    True
    """
    batch, channels, height, width = rgb.shape
    radius = kernels.shape[-1] // 2
    padded = F.pad(rgb, (radius,) * 4, mode="replicate").reshape(
        1, batch * channels, *(s + 2 * radius for s in (height, width))
    )
    weights = kernels.repeat_interleave(channels, 0)[:, None]  # (B * 3, 1, K, K)
    return F.conv2d(padded, weights, groups=batch * channels).reshape(rgb.shape)


def add_noise(rgb: Tensor, field: Tensor, shift: Tensor, deviation: Tensor) -> Tensor:
    """Add noise to each face: the same field, shifted.

    Args:
        rgb: `(B, 3, R, R)`.
        field: `(3, R, R)` noise of deviation 1.
        shift: `(B, 2)` whole px, down and right; the field is a torus.
        deviation: `(B,)`, as a part of full scale.

    >>> x, field = torch.full((1, 3, 4, 4), 0.5), torch.randn(3, 4, 4)
    >>> bool((add_noise(x, field, torch.tensor([[0, 0]]), torch.tensor([0.0])) == x).all())
    True
    """
    place = torch.arange(rgb.shape[-1], device=rgb.device)
    rows, columns = ((place - each[:, None]) % len(place) for each in shift.unbind(1))  # (B, R)
    noise = field[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)  # (B, 3, R, R)
    return (rgb + noise * deviation[:, None, None, None]).clamp(0, 1)
