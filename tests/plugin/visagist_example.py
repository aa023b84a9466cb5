"""An architecture and a colour transfer outside of visagist."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from visagist.merging.color import Image, Mask
from visagist.models import Swapper
from visagist.models.blocks.limits import check_size


@dataclass(frozen=True)
class SmallestConfig:
    """Settings of `smallest`."""

    size: int = 32  # px, 32 to 256, a multiple of 8
    width: int = 16  # channels

    def __post_init__(self) -> None:
        check_size("smallest", self.size, (32, 256), 8)


class Smallest(Swapper):
    """Nothing but an example: two convolutions to an eighth of the side, and one back."""

    Config = SmallestConfig
    learning_rate = 2e-3
    per_identity_modules = ("decoders",)

    def __init__(self, identities: tuple[str, ...], config: SmallestConfig) -> None:
        super().__init__(identities, config)
        width = config.width
        self.down = nn.Conv2d(3, width, 4, stride=4)
        self.latent = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.decoders = nn.ModuleList(nn.Conv2d(2 * width, 64 * 4, 1) for _ in identities)

    def encode(self, faces: Tensor) -> Tensor:
        x = torch.relu(self.down(faces))  # (B, width, R/4, R/4)
        return self.latent(x)  # (B, 2*width, R/8, R/8)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        x = self.decoders[self.index(identity)](latent)  # (B, 64*4, R/8, R/8)
        x = torch.sigmoid(torch.pixel_shuffle(x, 8).float())  # (B, 4, R, R)
        return x[:, :3], x[:, 3:]


def von_kries(predicted: Image, original: Image, mask: Mask) -> Image:
    """Multiply each channel so that its mean is that of the frame (von Kries 1902)."""
    inside = mask > 0.5
    if not inside.any():
        return predicted
    gains = original[inside].mean(0) / np.maximum(predicted[inside].mean(0), 1e-3)
    return np.clip(predicted * gains, 0, 1).astype(np.float32)
