"""The interface of an architecture.

Each architecture is one file of this package, or a class of another distribution named in its entry-point group
`visagist.models`. CONTRIBUTING.md has a complete example.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from visagist.core.errors import ConfigError


class SwapperConfig(Protocol):
    """Config of an architecture: a frozen dataclass in which every field has a default.

    A field is an int, a float, a str, a bool or a tuple of these; the docstring below it is its help. `__post_init__`
    raises `ConfigError` for invalid values; `visagist.models.blocks.limits` has checks for it.
    """

    @property
    def size(self) -> int:
        """Side of the faces in px, 32 or more."""
        ...


class Swapper(nn.Module):
    """A network that predicts the face of one identity with the expression of another.

    `encode` keeps what the identities share (expression, pose, light); `decode` predicts the face of one of them. A
    swap encodes the target's face and decodes it as the source. Training minimises the difference between a face and
    `decode(encode(face), its own identity)`, so whatever `decode` needs of an identity must be in its own weights.

    A subclass sets `Config` and `learning_rate`, creates its layers in `__init__(identities, config)`, and implements
    `encode` and `decode`; the first line of its docstring is its description in docs/reference/networks.md. Everything
    else has a default. visagist relies on the following:

    - Weights are initialized from torch's global generator, and the constructor and both methods work on the `meta`
      device, on which memory is estimated.
    - All state is in parameters and buffers, which are saved, averaged and distributed.
    - `encode` and `decode` are deterministic and run under autocast. `decode` returns float32 nevertheless, because the
      last sigmoid needs more than the 8 bits of bfloat16.
    - Each weight belongs to one identity or is shared by all (`owner_of`).

    Attributes:
        Config: the architecture's `SwapperConfig`.
        learning_rate: default learning rate with AdamW.
        tiny: config of a network that a test trains in seconds; None for the default config.
        morphs: whether `decode_morphed` can decode mixtures of two identities.
        per_identity_modules: names of the module lists with one module per identity, in the order of `identities`.
        checkpoint_blocks: classes of the blocks that gradient checkpointing may recompute in the backward pass.
        identities: names of the identities the network can predict, two or more; the source first, the target second.
        config: the network's config.
    """

    Config: ClassVar[type[Any]]
    learning_rate: ClassVar[float]
    tiny: ClassVar[SwapperConfig | None] = None
    morphs: ClassVar[bool] = False
    per_identity_modules: ClassVar[tuple[str, ...]] = ()
    checkpoint_blocks: ClassVar[tuple[type[nn.Module], ...]] = ()
    config: SwapperConfig
    identities: tuple[str, ...]

    def __init__(self, identities: tuple[str, ...], config: SwapperConfig) -> None:
        super().__init__()
        if len(identities) < 2 or len(set(identities)) != len(identities):
            raise ConfigError(f"a swapper needs two or more different identities, got {identities}")
        self.identities = tuple(identities)
        self.config = config

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        """Settings that presets try, best first; `device` is cpu, cuda or mps."""
        return [{}]

    @property
    def size(self) -> int:
        """Side of the faces in px."""
        return self.config.size

    @abstractmethod
    def encode(self, faces: Tensor) -> Tensor:
        """Encode `(B, 3, R, R)` float32 RGB faces in [0, 1], R = `size`, to a latent `(B, ...)` of any shape."""

    @abstractmethod
    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """Decode a latent as one of `identities`.

        Returns:
            `(B, 3, R, R)` float32 RGB in [0, 1] and `(B, 1, R, R)` float32 face mask in [0, 1].

        Raises:
            ConfigError: no such identity.
        """

    def decode_in_training(
        self,
        latent: Tensor,
        identity: str,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """`decode` during training; the same unless overridden.

        `generator` is on the CPU, for architectures that draw random numbers here.
        """
        return self.decode(latent, identity)

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """`decode` with gradients for the decoder only, for losses of the swap.

        An encoder trained by these losses would learn to pass on the target's appearance.
        """
        return self.decode(latent.detach(), identity)

    def decode_morphed(self, latent: Tensor, identity: str, factor: float) -> tuple[Tensor, Tensor]:
        """Decode a latent as a mixture of two identities, for architectures with `morphs`.

        Raises:
            ConfigError: the architecture does not morph.
        """
        raise ConfigError(f"{type(self).__name__} does not morph ({identity} by {factor}); train `amp` for that")

    def forward(self, faces: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """Encode `(B, 3, R, R)` faces and decode them as `identity`."""
        return self.decode(self.encode(faces), identity)

    def index(self, identity: str) -> int:
        """The place of an identity in `identities`.

        Raises:
            ConfigError: no such identity.
        """
        if identity not in self.identities:
            raise ConfigError(f"no identity '{identity}' in this network (it has: {', '.join(self.identities)})")
        return self.identities.index(identity)

    def owner_of(self, weight: str) -> str | None:
        """The identity that owns a weight of `state_dict`, None for shared weights.

        The default uses `per_identity_modules`; override it where that is not enough.

        >>> from visagist.models import create
        >>> network = create("quick", ("source", "target"))
        >>> network.owner_of("decoders.1.enter.weight"), network.owner_of("encoder.patches.weight")
        ('target', None)
        """
        part, _, rest = weight.partition(".")
        return self.identities[int(rest.partition(".")[0])] if part in self.per_identity_modules else None
