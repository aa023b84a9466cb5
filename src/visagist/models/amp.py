"""`amp`: a network that morphs between the target and the source.

Encoder and decoder are shared; each identity has an inter. In training, the target is decoded from its own inter, and
any other identity from a random mixture, per sample, of channels of its own inter and the target's. So the decoder
learns mixtures, which resemble the source more the more of its channels they have. The share is chosen at merge.

The blocks are those of the SAEHD family with options u, d and t. In DeepFaceLab the inters were left out of the
trained weights and kept their random initialisation; here they are trained.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.blocks.saehd import CHECKPOINT_BLOCKS, SIZE_RANGE, Decoder, Encoder, Variant, initialize_
from visagist.models.swapper import Swapper

VARIANT = Variant(unit_norm=True, doubled=True, deeper=True, cosine=False)
STEP = 32  # px; sizes are multiples of it
TARGET = 1  # index of the identity that all others are morphed with


@dataclass(frozen=True)
class AmpConfig:
    """A morphable swapper: a shared encoder and decoder, one inter per identity."""

    size: int = 224
    """Side of the faces: 64 to 640 px, a multiple of 32."""

    latent: int = 256
    """Length of the latent vector that represents a face (AMP's ae_dims)."""

    inter: int = 1024
    """Output channels of each inter, at 1/32 of the side; the unit of morphing (inter_dims)."""

    encoder: int = 64
    """Channels of the first downscale, doubled three times (e_dims)."""

    decoder: int = 64
    """The upscales have 8, 8, 4 and 2 times as many channels (d_dims)."""

    mask: int = 22
    """The same for the upscales of the mask (d_mask_dims)."""

    share: float = 0.5
    """Probability in training that a channel comes from the identity's own inter: above 0, at most 1."""

    def __post_init__(self) -> None:
        check_size("amp", self.size, SIZE_RANGE, STEP)
        widths = {"latent": self.latent, "inter": self.inter, "encoder": self.encoder}
        check_widths("amp", {**widths, "decoder": self.decoder, "mask": self.mask})
        if not 0 < self.share <= 1:
            raise ConfigError(f"model 'amp': share {self.share} must be above 0 and at most 1; 0.5 is usual")


class Inter(nn.Module):
    """A dense layer that turns a latent into one identity's feature map."""

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
    per_identity_modules = ("inters",)
    checkpoint_blocks = CHECKPOINT_BLOCKS

    def __init__(self, identities: tuple[str, ...], config: AmpConfig) -> None:
        super().__init__(identities, config)
        self.channels, self.share = config.inter, config.share
        self.encoder = Encoder(config.encoder, VARIANT)
        self.squeeze = nn.Linear(Encoder.output_length(config.size, config.encoder, VARIANT), config.latent)
        self.inters = nn.ModuleList(Inter(config.latent, config.inter, config.size // STEP) for _ in self.identities)
        self.decoder = Decoder(config.inter, config.decoder, config.mask, VARIANT)
        initialize_(self, VARIANT)

    def encode(self, faces: Tensor) -> Tensor:
        return self.squeeze(self.encoder(faces))  # (B, latent)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        rgb, mask = self.decoder(self.inters[self.index(identity)](latent))
        return rgb, mask

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """`decode` with gradients for the decoder only; the inters are part of the encoding."""
        rgb, mask = self.decoder(self.inters[self.index(identity)](latent).detach())
        return rgb, mask

    def decode_in_training(self, latent: Tensor, identity: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Decode a latent as the target, or as another identity with some channels from the target's inter.

        Each channel of each sample comes from the identity's own inter with probability `share`.
        """
        if self.index(identity) == TARGET:
            return self.decode(latent, identity)
        taken = torch.rand(len(latent), self.channels, 1, 1, generator=generator) < self.share
        return self.decode_mixed(latent, identity, taken.to(latent.device, non_blocking=True))

    def decode_morphed(self, latent: Tensor, identity: str, factor: float) -> tuple[Tensor, Tensor]:
        """Decode a latent as a mixture of the target and another identity.

        The first channels come from the identity's inter, always the same ones, so that a video does not flicker.
        `factor` is their fraction, from 0 (the target) to 1 (the same as `decode`).

        Raises:
            ConfigError: no such identity, or the factor is not in 0 to 1.
        """
        if not 0 <= factor <= 1:
            raise ConfigError(f"morph factor {factor} must be from 0 (the target) to 1 (the source)")
        channels = torch.arange(self.channels, device=latent.device)
        taken = channels < round(factor * self.channels)
        return self.decode_mixed(latent, identity, taken[None, :, None, None])

    def decode_mixed(self, latent: Tensor, identity: str, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Decode a latent with some channels from the identity's inter and the rest from the target's.

        `taken` is `(B, inter, 1, 1)` or `(1, inter, 1, 1)` bool on the latent's device, true for the identity's inter.
        """
        own, target = self.inters[self.index(identity)](latent), self.inters[TARGET](latent)
        rgb, mask = self.decoder(torch.where(taken, own, target))  # from (B, inter, R/32, R/32)
        return rgb, mask
