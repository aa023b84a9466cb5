"""The autoencoder that started the field in 2017, at 64 px.

One shared encoder compresses every face through a narrow dense layer, and one decoder per identity reconstructs that
identity's faces. The latent is too narrow to carry a face's appearance and has to serve both decoders, so it carries
what the identities share: pose, expression, light. Encoding the target's face and decoding it with the source's decoder
therefore predicts the source with the target's expression.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.layers import depth_to_space, leaky_relu_, match_memory_format
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.swapper import Swapper

SIZE_RANGE = (32, 1024)  # px; the windows of structural similarity do not fit into 16


@dataclass(frozen=True)
class OriginalConfig:
    """The classic face-swap autoencoder: a shared encoder, one decoder per identity."""

    size: int = 64
    """Side of the faces: 32 to 1024 px, a multiple of 16."""

    width: int = 128
    """Channels of the first convolution, 2 or more; doubled three times."""

    latent: int = 1024
    """Length of the latent vector that represents a face."""

    def __post_init__(self) -> None:
        check_size("original", self.size, SIZE_RANGE, 16)
        check_widths("original", {"latent": self.latent})
        check_widths("original", {"width": self.width}, minimum=2)  # the decoder ends with half of it


class Down(nn.Module):
    """Halves the side with a strided 5x5 convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 5, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu_(self.conv(x), 0.1)  # (B, out, H/2, W/2)


class Up(nn.Module):
    """Doubles the side with a 3x3 sub-pixel convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(leaky_relu_(self.conv(x), 0.1), 2)  # (B, out, 2H, 2W)


class Decoder(nn.Module):
    """Decodes as one identity: three upscales, then RGB and mask."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up1 = Up(channels, channels // 2)
        self.up2 = Up(channels // 2, channels // 4)
        self.up3 = Up(channels // 4, channels // 8)
        self.draw = nn.Conv2d(channels // 8, 4, 5, padding=2)  # RGB and mask

    def forward(self, x: Tensor) -> Tensor:
        x = self.up1(x)  # (B, 256, size/4, size/4)
        x = self.up2(x)  # (B, 128, size/2, size/2)
        x = self.up3(x)  # (B, 64, size, size)
        return self.draw(x)  # (B, 4, size, size)


@ARCHITECTURES.register
class Original(Swapper):
    """The first face-swap autoencoder (2017), to learn from and to compare with.

    One shared encoder, a dense latent space, one decoder per identity.
    """

    Config = OriginalConfig
    learning_rate = 2e-4  # 5e-5 in 2017, for days of training
    tiny = OriginalConfig(size=32, width=8, latent=16)
    per_identity_modules = ("decoders",)
    checkpoint_blocks = (Down, Up)

    def __init__(self, identities: tuple[str, ...], config: OriginalConfig) -> None:
        super().__init__(identities, config)
        width, self.side = config.width, config.size // 16
        self.down1 = Down(3, width)
        self.down2 = Down(width, 2 * width)
        self.down3 = Down(2 * width, 4 * width)
        self.down4 = Down(4 * width, 8 * width)
        self.squeeze = nn.Linear(8 * width * self.side**2, config.latent)
        self.spread = nn.Linear(config.latent, 8 * width * self.side**2)
        self.up = Up(8 * width, 4 * width)
        self.decoders = nn.ModuleList(Decoder(4 * width) for _ in identities)

    def encode(self, faces: Tensor) -> Tensor:
        x = self.down1(faces)  # (B, 128, size/2, size/2)
        x = self.down2(x)  # (B, 256, size/4, size/4)
        x = self.down3(x)  # (B, 512, size/8, size/8)
        x = self.down4(x)  # (B, 1024, size/16, size/16)
        x = self.squeeze(x.flatten(1))  # (B, latent): pose, expression, light
        x = self.spread(x).unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, 1024, size/16, size/16)
        return self.up(match_memory_format(x, self.up.conv))  # (B, 512, size/8, size/8)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        decoded = self.decoders[self.index(identity)](latent)  # (B, 4, size, size)
        decoded = torch.sigmoid(decoded.float())
        return decoded[:, :3], decoded[:, 3:]
