"""Discriminators: a U-Net on pictures, which tells predicted faces from real ones, and one on latents.

Spectral normalisation (Miyato et al. 2018) keeps them in bounds, at the price of one matrix-vector product per layer.
The factor by which a layer may enlarge a difference is the one with which noise keeps its strength at the start: with
1 each layer halves it, and after a dozen a discriminator returns 0 whatever it sees.

Predicted and real faces have the same colours and shapes and differ in fine detail, a hundredth of a picture's
contrast. So the discriminator is shown the detail by itself, enlarged, beside the picture.
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
DETAIL = 16.0  # times as strong as it is: about as strong as the colours
WIDEST = 8  # times the width: no layer has more channels


def patch_kernels(patch: int) -> tuple[int, ...]:
    """Kernels of halving convolutions that together, with `detail`, see exactly `patch` px (even: one more).

    A kernel of 3 in level i adds 2 * 2^i px to what is seen, one of 5 twice that: so the levels write `patch` as a
    binary number, and every odd size has one answer.

    Raises:
        ConfigError: less than 5 px.

    >>> [patch_kernels(patch) for patch in (5, 16, 33, 35)]
    [(3,), (3, 3, 3), (3, 3, 3, 3), (5, 3, 3, 3)]
    """
    if patch < 5:
        raise ConfigError(f"a patch of {patch} px shows nothing; give 5 or more")
    number = (patch - 2 | 1) + 1
    levels = number.bit_length() - 2
    rest = (number - 2 ** (levels + 1)) // 2
    return tuple(5 if rest >> level & 1 else 3 for level in range(levels))


class Normed(nn.Conv2d):
    """A spectrally normalised convolution, times the factor with which noise keeps its strength at the start.

    `slope` is that of the leaky ReLU after it; 1: none follows.
    """

    factor: Tensor

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, slope: float = SLOPE) -> None:
        super().__init__(channels, out, kernel, stride, kernel // 2)
        spectral_norm(self)
        row = self.weight.detach().square().sum() / out  # squared length of a kernel: how noise is enlarged
        self.register_buffer("factor", (2 / (1 + slope**2) / row).sqrt())  # stays what it is, and goes into checkpoints

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return self._conv_forward(input, self.factor * self.weight, self.bias)


def detail(pictures: Tensor) -> Tensor:
    """What pixels are above or below the mean of their 3x3 neighbourhood, `(B, C, H, W)`.

    >>> detail(torch.full((1, 1, 4, 4), 0.3)).abs().max().item() < 1e-6
    True
    """
    return pictures - F.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)


class PatchDiscriminator(nn.Module):
    """A U-Net that says of each patch, and of each pixel, whether it is real.

    Schonfeld, Schiele and Khoreva 2020, "A U-Net Based Discriminator for Generative Adversarial Networks": the encoder
    judges patches as a whole, the decoder goes back to full size and judges every pixel with what is around it known.
    Where they judge whole pictures, the depth of the encoder here follows from the patch.

    Args:
        patch: side in px of what one judgement of the encoder sees; see `patch_kernels`.
        width: channels at full size; doubled with each halving, eightfold at most.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        kernels = patch_kernels(patch)
        widths = [width * min(2**level, WIDEST) for level in range(len(kernels) + 1)]
        pairs = list(itertools.pairwise(widths))
        self.enter = Normed(6, width, 1)  # colours, and their detail
        self.down = nn.ModuleList(Normed(c, out, k, 2) for (c, out), k in zip(pairs, kernels, strict=True))
        self.judge_patches = Normed(widths[-1], 1, 1, slope=1)
        self.up = nn.ModuleList(Normed(below, 4 * c, 3) for c, below in reversed(pairs))
        self.merge = nn.ModuleList(Normed(2 * c, c, 3) for c, _ in reversed(pairs))
        self.judge_pixels = Normed(width, 1, 1, slope=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, above 0 for real.

        Args:
            pictures: `(B, 3, H, W)` RGB in [0, 1], in masked training multiplied by the real face's hull both where
                drawn and where real: the rim must not tell them apart.

        Returns:
            `(B, 1, h, w)` of patches and `(B, 1, H, W)` of pixels, float32.
        """
        x = torch.cat([2 * pictures - 1, DETAIL * detail(pictures)], 1)  # (B, 6, H, W)
        x = F.leaky_relu(self.enter(x), SLOPE)  # (B, width, H, W)
        sides = [x]
        for down in self.down:
            x = F.leaky_relu(down(x), SLOPE)  # (B, 2*width, H/2, W/2), (B, 4*width, H/4, W/4), ...
            sides.append(x)
        patches = self.judge_patches(sides.pop())  # (B, 1, h, w)
        for up, merge in zip(self.up, self.merge, strict=True):
            side = sides.pop()
            x = depth_to_space(F.leaky_relu(up(x), SLOPE), 2)
            x = x[..., : side.shape[-2], : side.shape[-1]]  # an odd side was rounded up when halved
            x = F.leaky_relu(merge(torch.cat([x, side], 1)), SLOPE)
        return patches.float(), self.judge_pixels(x).float()


class LatentDiscriminator(nn.Module):
    """Tells from a latent whose face was encoded: above 0 the source's.

    The encoder that deceives it gives the target's faces latents like the source's, so that the source's decoder finds
    nothing of the target in them (Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", used one way).
    It also wipes out what only the target does: hence small weights, and only at the end.

    Args:
        shape: of one latent: `(N,)` or `(C, h, w)`.
        width: channels of the first layer.
    """

    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        channels, *sides = shape
        halvings = max(sides, default=1).bit_length() - 1
        widths = [width * min(2**level, WIDEST) for level in range(halvings + 1)]
        self.enter = Normed(channels, width, 1)
        self.down = nn.ModuleList(Normed(c, out, 3, 2) for c, out in itertools.pairwise(widths))
        self.mix = Normed(widths[-1], widths[-1], 1)
        self.judge = Normed(widths[-1], 1, 1, slope=1)

    def forward(self, latent: Tensor) -> tuple[Tensor]:
        """One map of logits `(B, 1, h, w)` float32 for `(B, N)` or `(B, C, h, w)`, for the losses below."""
        x = latent if latent.dim() == 4 else latent[..., None, None]
        x = F.leaky_relu(self.enter(x), SLOPE)
        for down in self.down:
            x = F.leaky_relu(down(x), SLOPE)
        return (self.judge(F.leaky_relu(self.mix(x), SLOPE)).float(),)
