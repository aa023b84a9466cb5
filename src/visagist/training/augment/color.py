"""The colours of what the network sees.

- `Palette`, `random_colors`: gain and offset of each channel, part of the way to the other person's colours
- `jitter_hsv`, `jitter_lab`: hue, saturation and value; lightness and tint

Pictures are `(B, 3, H, W)` float32 sRGB in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visagist.training.augment.spaces import hsv_to_rgb, lab_to_rgb, rgb_to_hsv, rgb_to_lab


@dataclass(frozen=True)
class Palette:
    """The colours of one person's crops: mean and deviation of each channel inside the hull, `(3,)` float32."""

    mean: Tensor
    deviation: Tensor


def random_colors(
    own: Palette, other: Palette, reach: Tensor, deviation: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Gain and offset of each channel: part of the way to another person's colours, and jitter.

    Args:
        own: of the person whose faces these are.
        other: whose colours they take on.
        reach: `(B, 1)` in [0, 1], the longest way that each face may go.
        deviation: of the jitter, as a part of full scale.
        generator: of the CPU.

    Returns:
        Gain and offset, `(B, 3, 1, 1)` each.
    """
    way = torch.rand(len(reach), 1, generator=generator) * reach
    jitter = torch.randn(len(reach), 2, 3, generator=generator) * deviation
    common = torch.randn(len(reach), 2, 1, generator=generator) * deviation
    gain, offset = (0.5 * jitter + common).unbind(1)  # mostly the same for all channels: light, not hue
    gain = (other.deviation / own.deviation) ** way * torch.exp(gain)  # (B, 3)
    mean = own.mean + way * (other.mean - own.mean) + offset
    return gain[..., None, None], (mean - gain * own.mean)[..., None, None]


def jitter_hsv(rgb: Tensor, change: Tensor) -> Tensor:
    """Turn the hue and scale saturation and value.

    Args:
        rgb: `(B, 3, H, W)` in [0, 1].
        change: `(B, 3)`: part of the colour circle, factor of the saturation, factor of the value.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    >>> jitter_hsv(red, torch.tensor([[1 / 3, 0.5, 1.0]])).flatten().mul(100).round().tolist()
    [50.0, 100.0, 50.0]
    """
    hue, factors = change[:, :1, None, None], change[:, 1:, None, None]
    hsv = rgb_to_hsv(rgb)
    return hsv_to_rgb(torch.cat([hsv[:, :1] + hue, (hsv[:, 1:] * factors).clamp(0, 1)], 1))


def jitter_lab(rgb: Tensor, change: Tensor) -> Tensor:
    """Shift lightness and tint in CIE Lab.

    Args:
        rgb: `(B, 3, H, W)` in [0, 1].
        change: `(B, 3)`: steps of L*, a* and b*.

    >>> grey = torch.full((1, 3, 1, 1), 0.5)
    >>> redder = jitter_lab(grey, torch.tensor([[0.0, 10.0, 0.0]])).flatten()
    >>> bool(redder[0] > 0.5 > redder[1])
    True
    """
    return lab_to_rgb(rgb_to_lab(rgb) + change[..., None, None]).clamp(0, 1)
