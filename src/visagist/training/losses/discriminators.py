"""Discriminators: a U-Net for images and a small network for latents.

All layers are spectrally normalised (Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks").
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from visagist.core.errors import ConfigError
from visagist.models.blocks.layers import depth_to_space

SLOPE = 0.2  # of leaky_relu, usual in discriminators
DETAIL_GAIN = 16.0  # scales details to about the strength of colours
MAX_WIDENING = 8  # channels of the deepest layers, relative to the first


def patch_kernels(patch: int) -> tuple[int, ...]:
    """Kernels of stride-2 convolutions that, after the 3x3 of `details`, have a receptive field of `patch` px.

    At level i a kernel of 3 adds 2 * 2^i px to it and a kernel of 5 twice that, so the kernels follow from the binary
    digits of `patch`, 5 or more. An even `patch` is rounded up.

    >>> [patch_kernels(patch) for patch in (5, 16, 33, 35)]
    [(3,), (3, 3, 3), (3, 3, 3, 3), (5, 3, 3, 3)]
    """
    if patch < 5:
        raise ConfigError(f"a patch of {patch} px is too small; give 5 or more")
    number = (patch - 2 | 1) + 1
    levels = number.bit_length() - 2
    rest = (number - 2 ** (levels + 1)) // 2
    return tuple(5 if rest >> level & 1 else 3 for level in range(levels))


def details(images: Tensor) -> Tensor:
    """Differences of `(B, C, H, W)` pixels from the mean of their 3x3 neighbourhood."""
    return images - F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


class SpectralConv2d(nn.Conv2d):
    """A spectrally normalised convolution, rescaled to preserve the variance of noise at initialization.

    Without `factor`, each layer would halve it, and after a dozen layers the output would vanish. `slope` is that of
    the following leaky ReLU, 1 if there is none.
    """

    factor: Tensor

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, slope: float = SLOPE) -> None:
        super().__init__(channels, out, kernel, stride, kernel // 2)
        spectral_norm(self)
        row = self.weight.detach().square().sum() / out  # squared norm of a kernel: its gain for noise
        self.register_buffer("factor", (2 / (1 + slope**2) / row).sqrt())  # fixed

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return self._conv_forward(input, self.factor * self.weight, self.bias)


class PatchDiscriminator(nn.Module):
    """A U-Net that judges patches (encoder) and single pixels in context (decoder).

    Schonfeld, Schiele and Khoreva 2020, "A U-Net Based Discriminator for Generative Adversarial Networks".

    `patch` is the receptive field of the encoder in px and determines its depth, `width` the channels at full size.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        kernels = patch_kernels(patch)
        widths = [width * min(2**level, MAX_WIDENING) for level in range(len(kernels) + 1)]
        pairs = list(itertools.pairwise(widths))
        self.enter = SpectralConv2d(6, width, 1)
        self.down = nn.ModuleList(SpectralConv2d(c, out, k, 2) for (c, out), k in zip(pairs, kernels, strict=True))
        self.judge_patches = SpectralConv2d(widths[-1], 1, 1, slope=1)
        self.up = nn.ModuleList(SpectralConv2d(below, 4 * c, 3) for c, below in reversed(pairs))
        self.merge = nn.ModuleList(SpectralConv2d(2 * c, c, 3) for c, _ in reversed(pairs))
        self.judge_pixels = SpectralConv2d(width, 1, 1, slope=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of patches `(B, 1, h, w)` and pixels `(B, 1, H, W)`, above 0 for real, of RGB in [0, 1]."""
        # Real and predicted faces differ in fine detail with a hundredth of the contrast, so it is a separate input.
        x = torch.cat([2 * images - 1, DETAIL_GAIN * details(images)], 1)  # (B, 6, H, W)
        x = F.leaky_relu(self.enter(x), SLOPE)  # (B, width, H, W)
        skips = [x]
        for down in self.down:
            x = F.leaky_relu(down(x), SLOPE)  # (B, 2*width, H/2, W/2), (B, 4*width, H/4, W/4), ...
            skips.append(x)
        patches = self.judge_patches(skips.pop())  # (B, 1, h, w)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            x = depth_to_space(F.leaky_relu(up(x), SLOPE), 2)
            x = x[..., : skip.shape[-2], : skip.shape[-1]]  # odd sides were rounded up by the stride
            x = F.leaky_relu(merge(torch.cat([x, skip], 1)), SLOPE)
        return patches.float(), self.judge_pixels(x).float()


class LatentDiscriminator(nn.Module):
    """Distinguishes latents of the source from those of the target.

    Trained against it, the encoder makes the target's latents resemble the source's (Ganin et al. 2016,
    "Domain-Adversarial Training of Neural Networks", in one direction). This also removes expressions that only the
    target makes, hence small weights at the end of a training.

    `shape` is that of one latent, `(N,)` or `(C, h, w)`, `width` the channels of the first layer.
    """

    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        channels, *sides = shape
        levels = max(sides, default=1).bit_length()
        widths = [width * min(2**level, MAX_WIDENING) for level in range(levels)]
        self.enter = SpectralConv2d(channels, width, 1)
        self.down = nn.ModuleList(SpectralConv2d(c, out, 3, 2) for c, out in itertools.pairwise(widths))
        self.mix = SpectralConv2d(widths[-1], widths[-1], 1)
        self.judge = SpectralConv2d(widths[-1], 1, 1, slope=1)

    def forward(self, latent: Tensor) -> tuple[Tensor]:
        """Logits `(B, 1, h, w)`, above 0 for the source."""
        x = latent if latent.dim() == 4 else latent[..., None, None]
        x = F.leaky_relu(self.enter(x), SLOPE)
        for down in self.down:
            x = F.leaky_relu(down(x), SLOPE)
        return (self.judge(F.leaky_relu(self.mix(x), SLOPE)).float(),)
