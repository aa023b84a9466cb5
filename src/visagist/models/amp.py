"""`amp`: a network that morphs between the target and the source.

- `AmpConfig`: size and widths
- `Amp`: one encoder and one decoder for everybody, one inter a person

A picture of the target comes from the target's inter. A picture of the source comes, channel by channel at random, from
the source's inter or the target's, drawn anew for each sample: so the decoder learns to draw somebody from any mixture,
the more like the source the more of its channels it gets. How many it gets is chosen at merge.

The family's blocks in their deeper variant with doubled heads and unit norm (t, d and u of `df`). In the well-known
implementation the inters were not among the weights that are trained and stayed at their random start; here they train.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.blocks.saehd import SEGMENTS, SIZES, Decoder, Encoder, Variant, start
from visagist.models.swapper import Swapper

VARIANT = Variant(unit_norm=True, doubled=True, deeper=True, cosine=False)
STEP = 32  # px, what sizes are multiples of
TARGET = 1  # the identity that all others are morphed with


@dataclass(frozen=True)
class AmpConfig:
    """A morphable swapper: one encoder and decoder for everybody, one inter a person."""

    size: int = 224
    """Side of the faces: 64 to 640 px, a multiple of 32."""

    latent: int = 256
    """Length of the latent vector that represents a face (AMP's ae_dims)."""

    inter: int = 1024
    """Channels at 1/32 of the side that each inter gives, and that are morphed (inter_dims)."""

    encoder: int = 64
    """Channels of the first downscale, doubled three times (e_dims)."""

    decoder: int = 64
    """The upscales have 8, 8, 4 and 2 times as many channels (d_dims)."""

    mask: int = 22
    """The same for the upscales of the mask (d_mask_dims)."""

    share: float = 0.5
    """Chance of a channel to come from the identity's own inter in training: above 0 to 1."""

    def __post_init__(self) -> None:
        check_size("amp", self.size, SIZES, STEP)
        widths = {"latent": self.latent, "inter": self.inter, "encoder": self.encoder}
        check_widths("amp", {**widths, "decoder": self.decoder, "mask": self.mask})
        if not 0 < self.share <= 1:
            raise ConfigError(f"model 'amp': share {self.share} must be above 0 and at most 1; 0.5 is usual")


class Spread(nn.Module):
    """A latent to a picture of many channels: the inter of one person."""

    def __init__(self, latent: int, out: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.spread = nn.Linear(latent, side**2 * out)

    def forward(self, x: Tensor) -> Tensor:
        return self.spread(x).unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, out, R/32, R/32)


@ARCHITECTURES.register
class Amp(Swapper):
    """Morphing: a face between source and target, chosen at merge (AMP).

    One shared encoder and decoder, one inter per identity; the second identity is the target.
    """

    Config = AmpConfig
    learning_rate = 5e-5
    tiny = AmpConfig(size=64, latent=16, inter=16, encoder=4, decoder=4, mask=2)
    morphs: ClassVar[bool] = True
    personal = ("inters",)
    segments = SEGMENTS

    def __init__(self, identities: tuple[str, ...], config: AmpConfig) -> None:
        super().__init__(identities, config)
        self.channels, self.share = config.inter, config.share
        self.encoder = Encoder(config.encoder, VARIANT)
        self.squeeze = nn.Linear(Encoder.numbers(config.size, config.encoder, VARIANT), config.latent)
        self.inters = nn.ModuleList(Spread(config.latent, config.inter, config.size // STEP) for _ in self.identities)
        self.decoder = Decoder(config.inter, config.decoder, config.mask, VARIANT)
        start(self, VARIANT)

    def encode(self, faces: Tensor) -> Tensor:
        return self.squeeze(self.encoder(faces))  # (B, latent)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """Draw a latent as one person wholly: of a source, what `decode_morphed` draws with factor 1."""
        rgb, mask = self.decoder(self.inters[self.index(identity)](latent))
        return rgb, mask

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """What `decode` returns, with a gradient for the decoder alone: the inters belong to what encodes."""
        rgb, mask = self.decoder(self.inters[self.index(identity)](latent).detach())
        return rgb, mask

    def decode_in_training(self, latent: Tensor, identity: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a latent as the target, or as another person with part of the channels from the target's inter.

        Which channels is drawn for each sample and channel with the chance `share`; nothing is drawn for the target.
        """
        if self.index(identity) == TARGET:
            return self.decode(latent, identity)
        taken = torch.rand(len(latent), self.channels, 1, 1, generator=generator) < self.share
        return self.decode_mixed(latent, identity, taken.to(latent.device, non_blocking=True))

    def decode_morphed(self, latent: Tensor, identity: str, factor: float) -> tuple[Tensor, Tensor]:
        """Draw a latent as a mixture of the target and one person.

        The first channels come from the person's inter, always the same ones: a video does not flicker, and a larger
        factor only adds to what a smaller one takes.

        Args:
            latent: what `encode` gave.
            identity: one of `identities`.
            factor: part of the channels that come from that person's inter, 0 (the target) to 1.

        Returns:
            `(B, 3, R, R)` float32 RGB in [0, 1] and `(B, 1, R, R)` float32 face mask in [0, 1].

        Raises:
            ConfigError: nobody has that name, or the factor is not in 0 to 1.
        """
        if not 0 <= factor <= 1:
            raise ConfigError(f"morph factor {factor} must be from 0 (the target) to 1 (the source)")
        channels = torch.arange(self.channels, device=latent.device)
        taken = channels < round(factor * self.channels)
        return self.decode_mixed(latent, identity, taken[None, :, None, None])

    def decode_mixed(self, latent: Tensor, identity: str, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Draw a latent with the channels `taken` from one person's inter, and the rest from the target's.

        Args:
            latent: what `encode` gave.
            identity: one of `identities`.
            taken: `(B, inter, 1, 1)` or `(1, inter, 1, 1)` bool, on the latent's device.

        Returns:
            What `decode` returns.

        Raises:
            ConfigError: nobody has that name.
        """
        own, target = self.inters[self.index(identity)](latent), self.inters[TARGET](latent)
        rgb, mask = self.decoder(torch.where(taken, own, target))  # from (B, inter, R/32, R/32)
        return rgb, mask
