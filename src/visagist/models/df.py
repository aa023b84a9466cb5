"""SAEHD's `df`: a shared encoder and inter, one decoder per identity.

The plainest of the family. The inter is too narrow to carry a face's appearance, and each decoder knows one identity
only, so the swap has the face and the face shape of the source whatever the target looks like.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.blocks.saehd import CHECKPOINT_BLOCKS, SIZE_RANGE, Decoder, Encoder, Inter, Variant, initialize_
from visagist.models.swapper import Swapper


@dataclass(frozen=True)
class DfConfig:
    """SAEHD's df: a shared encoder and inter, one decoder per identity; 57.54 million parameters for two."""

    size: int = 128
    """Side of the faces: 64 to 640 px, a multiple of 16 (of 32 with option d)."""

    latent: int = 256
    """Length of the latent vector that represents a face (SAEHD's ae_dims)."""

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
        check_size("df", self.size, SIZE_RANGE, Variant.parse("df", self.options).step)
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
    per_identity_modules = ("decoders",)
    checkpoint_blocks = CHECKPOINT_BLOCKS

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        # Unit norm for likeness to the source; half the resolution inside, so 256 px cost as much as 128.
        sizes = (256, 192) if device == "cuda" else (192,)
        return [{"size": size, "options": "ud"} for size in sizes]

    def __init__(self, identities: tuple[str, ...], config: DfConfig) -> None:
        super().__init__(identities, config)
        variant = Variant.parse("df", config.options)
        length = Encoder.output_length(config.size, config.encoder, variant)
        self.encoder = Encoder(config.encoder, variant)
        self.inter = Inter(length, config.latent, config.latent, config.size, variant)
        self.decoders = nn.ModuleList(
            Decoder(config.latent, config.decoder, config.mask, variant) for _ in self.identities
        )
        initialize_(self, variant)

    def encode(self, faces: Tensor) -> Tensor:
        x = self.encoder(faces)  # (B, N)
        return self.inter(x)  # (B, ae, 2r, 2r); with t (B, ae, r, r); r = R/16, with d R/32

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        rgb, mask = self.decoders[self.index(identity)](latent)
        return rgb, mask
