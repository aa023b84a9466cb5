"""Colour spaces, for batches on any device.

- `srgb_to_linear`, `linear_to_srgb`: the transfer function of IEC 61966-2-1
- `rgb_to_lab`, `lab_to_rgb`: CIE 1976 L*a*b* under D65
- `rgb_to_hsv`, `hsv_to_rgb`: Smith 1978, "Color gamut transform pairs", hue in [0, 1)
- `rgb_to_ycbcr`, `ycbcr_to_rgb`: of JFIF (ITU-T T.871), full range, chroma about 0

All take and return `(B, 3, H, W)` float32; RGB is sRGB in [0, 1]. What leaves the gamut is not clipped. Matrices are
applied number by number: as tensors they would have to be copied to the device, which waits for it. Curves of two
pieces are the sum of both, each held at the joint beyond it: `torch.where` takes longer than both of them.
"""

import torch
from torch import Tensor

Matrix = tuple[tuple[float, float, float], ...]
TO_XYZ: Matrix = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
FROM_XYZ: Matrix = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
DARK = 0.04045  # below it, sRGB is linear
WHITE = (0.95047, 1.0, 1.08883)  # D65
DELTA = 6 / 29  # below its cube, Lab is linear
LUMA = (0.299, 0.587, 0.114)


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Light of an sRGB value, both in [0, 1].

    >>> srgb_to_linear(torch.tensor([0.0, 0.5, 1.0])).mul(1000).round().tolist()
    [0.0, 214.0, 1000.0]
    """
    return ((rgb.clamp_min(DARK) + 0.055) / 1.055) ** 2.4 + (rgb.clamp_max(DARK) - DARK) / 12.92


def linear_to_srgb(light: Tensor) -> Tensor:
    """The sRGB value of light, both in [0, 1]; light below 0 stays on the straight part.

    >>> linear_to_srgb(torch.tensor([0.002, 0.214, 1.0])).mul(1000).round().tolist()
    [26.0, 500.0, 1000.0]
    """
    joint = DARK / 12.92
    return 1.055 * light.clamp_min(joint) ** (1 / 2.4) - 0.055 + (light.clamp_max(joint) - joint) * 12.92


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """`(B, 3, H, W)` sRGB in [0, 1] to L* in [0, 100] and a*, b* of about -100 to 100.

    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    matrix = tuple((r / white, g / white, b / white) for (r, g, b), white in zip(TO_XYZ, WHITE, strict=True))
    xyz = _mixed(matrix, srgb_to_linear(rgb))
    bent = xyz.clamp_min(DELTA**3) ** (1 / 3) + (xyz.clamp_max(DELTA**3) - DELTA**3) / (3 * DELTA**2)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `rgb_to_lab`; colours that no screen has come out below 0 or above 1.

    >>> lab_to_rgb(torch.tensor([100.0, 0.0, 0.0]).reshape(1, 3, 1, 1)).flatten().round().tolist()
    [1.0, 1.0, 1.0]
    """
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    xyz = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = xyz.clamp_min(DELTA) ** 3 + 3 * DELTA**2 * (xyz.clamp_max(DELTA) - DELTA)
    matrix = tuple((x * WHITE[0], y * WHITE[1], z * WHITE[2]) for x, y, z in FROM_XYZ)
    return linear_to_srgb(_mixed(matrix, xyz))


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """`(B, 3, H, W)` RGB in [0, 1] to hue in [0, 1) (red 0, green 1/3, blue 2/3), saturation and value in [0, 1].

    >>> rgb_to_hsv(torch.tensor([0.0, 0.5, 0.0]).reshape(1, 3, 1, 1)).flatten().mul(6).round().tolist()
    [2.0, 6.0, 3.0]
    """
    red, green, blue = rgb.unbind(1)
    value, low = rgb.amax(1), rgb.amin(1)
    chroma = value - low
    divisor = chroma.clamp_min(1e-8)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    return torch.stack([(hue / 6).remainder(1), chroma / value.clamp_min(1e-8), value], 1)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """The inverse of `rgb_to_hsv`; any hue is taken, as a part of the circle.

    >>> hsv_to_rgb(torch.tensor([2 / 3, 1.0, 0.5]).reshape(1, 3, 1, 1)).flatten().mul(100).round().tolist()
    [0.0, 0.0, 50.0]
    """
    hue, saturation, value = hsv.split(1, 1)
    sector = (torch.arange(5, 0, -2, device=hsv.device)[:, None, None] + 6 * hue).remainder(6)  # 5, 3, 1 and hue
    return value - value * saturation * torch.minimum(sector, 4 - sector).clamp(0, 1)


def luma(rgb: Tensor) -> Tensor:
    """`(B, 1, H, W)` brightness in [0, 1], by the weights of BT.601 and JPEG.

    >>> round(luma(torch.full((1, 3, 1, 1), 0.5)).item(), 4)
    0.5
    """
    return _mixed((LUMA,), rgb)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """`(B, 3, H, W)` RGB in [0, 1] to Y in [0, 1] and Cb, Cr in [-0.5, 0.5].

    >>> rgb_to_ycbcr(torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1)).flatten().mul(1000).round().tolist()
    [114.0, 500.0, -81.0]
    """
    y = luma(rgb)[:, 0]
    blue = (rgb[:, 2] - y) / (2 - 2 * LUMA[2])
    red = (rgb[:, 0] - y) / (2 - 2 * LUMA[0])
    return torch.stack([y, blue, red], 1)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`.

    >>> ycbcr_to_rgb(torch.tensor([0.5, 0.0, 0.0]).reshape(1, 3, 1, 1)).flatten().mul(100).round().tolist()
    [50.0, 50.0, 50.0]
    """
    y, blue, red = ycbcr.unbind(1)
    r, b = y + (2 - 2 * LUMA[0]) * red, y + (2 - 2 * LUMA[2]) * blue
    return torch.stack([r, (y - LUMA[0] * r - LUMA[2] * b) / LUMA[1], b], 1)


def _mixed(matrix: Matrix, channels: Tensor) -> Tensor:
    """A matrix of 3 columns and N rows applied to each pixel of `(B, 3, H, W)`: `(B, N, H, W)`."""
    x, y, z = channels.unbind(1)
    mixed = channels.new_empty(len(channels), len(matrix), *channels.shape[2:])
    for (a, b, c), plane in zip(matrix, mixed.unbind(1), strict=True):
        plane.copy_(x).mul_(a).add_(y, alpha=b).add_(z, alpha=c)
    return mixed
