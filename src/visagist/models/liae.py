"""SAEHD's `liae`: one shared decoder; identities differ in the inters that feed it.

The inter AB is shared, the inter B belongs to the target. The target is decoded from B and AB, the source from AB
twice, so AB learns the source and what the target has in common with it. A swap decodes the target's AB twice.

Because both identities share one decoder, the swap follows the target's light and face shape better than with `df`, but
may resemble the source less.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.blocks.saehd import CHECKPOINT_BLOCKS, SIZE_RANGE, Decoder, Encoder, Inter, Variant, initialize_
from visagist.models.swapper import Swapper


@dataclass(frozen=True)
class LiaeConfig:
    """SAEHD's liae: a shared encoder, inter and decoder, and an inter for each identity but the first."""

    size: int = 128
    """Side of the faces: 64 to 640 px, a multiple of 16 (of 32 with option d)."""

    latent: int = 256
    """Length of the latent vector of each inter (SAEHD's ae_dims)."""

    encoder: int = 64
    """Channels of the first downscale, doubled three times (e_dims)."""

    decoder: int = 64
    """The upscales have 8, 4 and 2 times as many channels (d_dims)."""

    mask: int = 22
    """The same for the upscales of the mask (d_mask_dims)."""

    options: str = ""
    """Letters of SAEHD options: u (unit norm of the latent), d (half the resolution inside, so twice the size for the
    same work), t (deeper), c (x*cos(x) as activation)."""

    def __post_init__(self) -> None:
        check_size("liae", self.size, SIZE_RANGE, Variant.parse("liae", self.options).step)
        widths = {"latent": self.latent, "encoder": self.encoder, "decoder": self.decoder, "mask": self.mask}
        check_widths("liae", widths)


@ARCHITECTURES.register
class Liae(Swapper):
    """The light and face shape of the target first; several identities (SAEHD).

    One shared encoder, one shared inter, another inter for each identity but the first, one decoder.
    """

    Config = LiaeConfig
    learning_rate = 5e-5
    tiny = LiaeConfig(size=64, latent=8, encoder=4, decoder=4, mask=2)
    per_identity_modules = ("inters",)
    checkpoint_blocks = CHECKPOINT_BLOCKS

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        # Unit norm for likeness to the source; half the resolution inside, so 256 px cost as much as 128.
        sizes = (256, 192) if device == "cuda" else (192,)
        return [{"size": size, "options": "ud"} for size in sizes]

    def __init__(self, identities: tuple[str, ...], config: LiaeConfig) -> None:
        super().__init__(identities, config)
        variant = Variant.parse("liae", config.options)
        length = Encoder.output_length(config.size, config.encoder, variant)
        self.encoder = Encoder(config.encoder, variant)
        self.inters = nn.ModuleList(  # AB, then B of the second identity, and so on
            Inter(length, config.latent, 2 * config.latent, config.size, variant) for _ in self.identities
        )
        self.decoder = Decoder(4 * config.latent, config.decoder, config.mask, variant)
        initialize_(self, variant)

    def encode(self, faces: Tensor) -> Tensor:
        return self.encoder(faces)  # (B, N): the inters depend on the identity, so they are part of `decode`

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        rgb, mask = self.decoder(self.decoder_input(latent, identity))
        return rgb, mask

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """`decode` with gradients for the decoder only; the target's appearance would pass through AB."""
        rgb, mask = self.decoder(self.decoder_input(latent, identity).detach())
        return rgb, mask

    def decoder_input(self, latent: Tensor, identity: str) -> Tensor:
        """Outputs of the identity's own inter, which is AB for the first identity, and of AB."""
        index = self.index(identity)
        shared = self.inters[0](latent)  # (B, 2ae, 2r, 2r); with t (B, 2ae, r, r); r = R/16, with d R/32
        own = shared if index == 0 else self.inters[index](latent)
        return torch.cat([own, shared], 1)  # (B, 4ae, 2r, 2r)

    def owner_of(self, weight: str) -> str | None:
        """The identity that owns a weight; the inter AB is shared, so the first identity owns none."""
        return None if weight.startswith("inters.0.") else super().owner_of(weight)
