"""Colour spaces.

All functions take and return `(B, 3, H, W)` float32; RGB is sRGB in [0, 1]. Colours outside the gamut are not clipped.
Matrices are applied entry by entry, which avoids copying tensors to the device. Piecewise curves are the sum of both
pieces, each clamped at the joint, which is faster than `torch.where`.
"""

import torch
from torch import Tensor

Matrix = tuple[tuple[float, float, float], ...]
RGB_TO_XYZ: Matrix = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
XYZ_TO_RGB: Matrix = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
SRGB_JOINT = 0.04045  # IEC 61966-2-1; linear below
D65 = (0.95047, 1.0, 1.08883)  # XYZ of white
LAB_JOINT = 6 / 29  # linear below its cube
LUMA = (0.299, 0.587, 0.114)  # BT.601


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE 1976 L* in [0, 100], a* and b* of about -100 to 100, under D65.

    >>> rgb_to_lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    light = ((rgb.clamp_min(SRGB_JOINT) + 0.055) / 1.055) ** 2.4 + (rgb.clamp_max(SRGB_JOINT) - SRGB_JOINT) / 12.92
    xyz = _mix([(r / white, g / white, b / white) for (r, g, b), white in zip(RGB_TO_XYZ, D65, strict=True)], light)
    joint = LAB_JOINT**3
    bent = xyz.clamp_min(joint) ** (1 / 3) + (xyz.clamp_max(joint) - joint) / (3 * LAB_JOINT**2)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `rgb_to_lab`."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    xyz = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = xyz.clamp_min(LAB_JOINT) ** 3 + 3 * LAB_JOINT**2 * (xyz.clamp_max(LAB_JOINT) - LAB_JOINT)
    light = _mix([(x * D65[0], y * D65[1], z * D65[2]) for x, y, z in XYZ_TO_RGB], xyz)
    joint = SRGB_JOINT / 12.92
    return 1.055 * light.clamp_min(joint) ** (1 / 2.4) - 0.055 + (light.clamp_max(joint) - joint) * 12.92


def rgb_to_hsv(rgb: Tensor) -> Tensor:
    """Hue in [0, 1) (red 0, green 1/3, blue 2/3), saturation and value in [0, 1].

    Smith 1978, "Color gamut transform pairs".
    """
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    chroma = value - rgb.amin(1)
    divisor = chroma.clamp_min(1e-8)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    return torch.stack([(hue / 6).remainder(1), chroma / value.clamp_min(1e-8), value], 1)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """The inverse of `rgb_to_hsv`; hues outside [0, 1) wrap around."""
    hue, saturation, value = hsv.split(1, 1)
    sector = (torch.arange(5, 0, -2, device=hsv.device)[:, None, None] + 6 * hue).remainder(6)  # 5, 3, 1 plus the hue
    return value - value * saturation * torch.minimum(sector, 4 - sector).clamp(0, 1)


def luma(rgb: Tensor) -> Tensor:
    """`(B, 1, H, W)` brightness in [0, 1], with the weights of BT.601 and JPEG."""
    return _mix([LUMA], rgb)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Y in [0, 1], Cb and Cr in [-0.5, 0.5]: full range, as in JFIF (ITU-T T.871)."""
    y = luma(rgb)[:, 0]
    return torch.stack([y, (rgb[:, 2] - y) / (2 - 2 * LUMA[2]), (rgb[:, 0] - y) / (2 - 2 * LUMA[0])], 1)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`."""
    y, cb, cr = ycbcr.unbind(1)
    r, b = y + (2 - 2 * LUMA[0]) * cr, y + (2 - 2 * LUMA[2]) * cb
    return torch.stack([r, (y - LUMA[0] * r - LUMA[2] * b) / LUMA[1], b], 1)


def _mix(matrix: Matrix | list[tuple[float, float, float]], channels: Tensor) -> Tensor:
    """Apply `(N, 3)` weights to each pixel: `(B, 3, H, W)` to `(B, N, H, W)`."""
    x, y, z = channels.unbind(1)
    mixed = channels.new_empty(len(channels), len(matrix), *channels.shape[2:])
    for (a, b, c), plane in zip(matrix, mixed.unbind(1), strict=True):
        plane.copy_(x).mul_(a).add_(y, alpha=b).add_(z, alpha=c)
    return mixed
