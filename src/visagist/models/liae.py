"""SAEHD's `liae`: one decoder for everybody; what tells people apart is which inters it gets.

- `LiaeConfig`: size, widths and options
- `Liae`: the network

The inter AB sees everybody, the inter B the target alone. The target is drawn from B and AB, the source from AB twice:
AB learns all of the source and what the target has in common with it, and one decoder draws both. The swap is AB of the
target, twice.

Because one decoder draws both people, it follows the target's light and shape of face better than `df` does, and its
swap may be less like the source.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.blocks.saehd import SEGMENTS, SIZES, Decoder, Encoder, Inter, Variant, start
from visagist.models.swapper import Swapper


@dataclass(frozen=True)
class LiaeConfig:
    """One encoder and one decoder for everybody, an inter for all and one for each but the first, as in SAEHD."""

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
        check_size("liae", self.size, SIZES, Variant.named("liae", self.options).step)
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
    personal = ("inters",)
    segments = SEGMENTS

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        # Unit norm, because likeness to the source is what a swap is for; 256 px for the arithmetic of 128.
        sizes = (256, 192) if device == "cuda" else (192,)
        return [{"size": size, "options": "ud"} for size in sizes]

    def __init__(self, identities: tuple[str, ...], config: LiaeConfig) -> None:
        super().__init__(identities, config)
        variant = Variant.named("liae", config.options)
        numbers = Encoder.numbers(config.size, config.encoder, variant)
        self.encoder = Encoder(config.encoder, variant)
        self.inters = nn.ModuleList(  # first AB, then B of the second person, and so on
            Inter(numbers, config.latent, 2 * config.latent, config.size, variant) for _ in self.identities
        )
        self.decoder = Decoder(4 * config.latent, config.decoder, config.mask, variant)
        start(self, variant)

    def encode(self, faces: Tensor) -> Tensor:
        return self.encoder(faces)  # (B, numbers): the inters differ by person, and belong to `decode`

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        rgb, mask = self.decoder(self.pair(latent, identity))
        return rgb, mask

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """What `decode` returns, with a gradient for the decoder alone: the target's looks would pass through AB."""
        rgb, mask = self.decoder(self.pair(latent, identity).detach())
        return rgb, mask

    def pair(self, latent: Tensor, identity: str) -> Tensor:
        """What the decoder draws a person from: that person's own inter, AB for the first one, and AB."""
        index = self.index(identity)
        shared = self.inters[0](latent)  # (B, 2ae, 2r, 2r); with t (B, 2ae, r, r); r = R/16, with d R/32
        own = shared if index == 0 else self.inters[index](latent)
        return torch.cat([own, shared], 1)  # (B, 4ae, 2r, 2r)

    def whose(self, weight: str) -> str | None:
        """The person whose own a weight is: of the inters but AB, which is everybody's; the first person has none."""
        return None if weight.startswith("inters.0.") else super().whose(weight)
