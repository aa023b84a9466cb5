"""SAEHD's `df`: one encoder and inter for everybody, one decoder a person.

- `DfConfig`: size, widths and options
- `Df`: the network

The plainest of the family: the inter is too narrow for a face's looks, a decoder knows one person and nobody else. The
swap has the source's face, and keeps its shape, whatever the target looks like.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.blocks.saehd import SEGMENTS, SIZES, Decoder, Encoder, Inter, Variant, start
from visagist.models.swapper import Swapper


@dataclass(frozen=True)
class DfConfig:
    """One encoder for everybody, one decoder a person, as in SAEHD; 57.54 million parameters for two people."""

    size: int = 128  # px, 64 to 640; a multiple of 16, with d of 32
    latent: int = 256  # SAEHD's ae_dims: numbers through which every face must pass
    encoder: int = 64  # e_dims: channels of the first downscale; doubled three times
    decoder: int = 64  # d_dims: the upscales have 8, 4 and 2 times as many channels
    mask: int = 22  # d_mask_dims: the same for the mask
    options: str = ""  # letters of u (unit norm), d (doubled side), t (deeper), c (x·cos x)

    def __post_init__(self) -> None:
        check_size("df", self.size, SIZES, Variant.named("df", self.options).step)
        widths = {"latent": self.latent, "encoder": self.encoder, "decoder": self.decoder, "mask": self.mask}
        check_widths("df", widths)


@ARCHITECTURES.register
class Df(Swapper):
    """The likeness of the source first, for faces of similar shape (SAEHD).

    One shared encoder and inter, one decoder per identity.
    """

    Config = DfConfig
    learning_rate = 5e-5
    tiny = DfConfig(size=64, latent=16, encoder=4, decoder=4, mask=2)
    personal = ("decoders",)
    segments = SEGMENTS

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        # Unit norm, because likeness to the source is what a swap is for; 256 px for the arithmetic of 128.
        sizes = (256, 192) if device == "cuda" else (192,)
        return [{"size": size, "options": "ud"} for size in sizes]

    def __init__(self, identities: tuple[str, ...], config: DfConfig) -> None:
        super().__init__(identities, config)
        variant = Variant.named("df", config.options)
        numbers = Encoder.numbers(config.size, config.encoder, variant)
        self.encoder = Encoder(config.encoder, variant)
        self.inter = Inter(numbers, config.latent, config.latent, config.size, variant)
        self.decoders = nn.ModuleList(
            Decoder(config.latent, config.decoder, config.mask, variant) for _ in self.identities
        )
        start(self, variant)

    def encode(self, faces: Tensor) -> Tensor:
        x = self.encoder(faces)  # (B, numbers)
        return self.inter(x)  # (B, ae, 2r, 2r); with t (B, ae, r, r); r = R/16, with d R/32

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        rgb, mask = self.decoders[self.index(identity)](latent)
        return rgb, mask
