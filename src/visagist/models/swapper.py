"""What every swapper is, and the few pieces that architectures share.

- `Swapper`: one encoder for everybody, one decoder a person
- `check_size`, `check_widths`: refuse what makes no network
- `depth_to_space`, `space_to_depth`: trade channels for pixels without leaving the memory layout
- `laid_out`: the memory layout of a layer's weights, for a picture made from a code
- `leaky`: the activation of most networks
- `start_even`: initial weights with which signals keep their strength
- `scale`: smaller initial weights, with which networks without normalisation train from the first step
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import ConfigError

WIDEST = 4096  # channels, or numbers of a latent


class SwapperConfig(Protocol):
    """What the trainer needs to know of an architecture's settings."""

    @property
    def size(self) -> int:
        """Side of the faces in px."""
        ...


class Swapper(nn.Module):
    """A network that draws one person's expression with another person's face.

    `encode` sees whoever is there and keeps what the people have in common (expression, pose, light); `decode` draws
    it as the person that `identity` names. A swap is the encoding of one person, decoded as another.

    Attributes:
        learning_rate: of AdamW, that suits the architecture.
        morphs: whether `decode_morphed` can draw mixtures of two people.
        personal: names of its lists of modules that hold one for each person, in the order of `identities`; `whose`
            says who owns what.
        segments: classes of its blocks that are worth computing again in the backward pass, where memory is short.
        identities: names of the people it can draw, two or more.
        config: the architecture's frozen settings.
    """

    Config: ClassVar[type[Any]]
    learning_rate: ClassVar[float]
    morphs: ClassVar[bool] = False
    personal: ClassVar[tuple[str, ...]] = ()
    segments: ClassVar[tuple[type[nn.Module], ...]] = ()
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
        """What the people have in common: `(B, 3, R, R)` float32 RGB in [0, 1] to a latent, first axis B."""

    @abstractmethod
    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """Draw a latent as one person.

        Args:
            latent: what `encode` gave.
            identity: one of `identities`.

        Returns:
            `(B, 3, R, R)` float32 RGB in [0, 1] and `(B, 1, R, R)` float32 face mask in [0, 1].

        Raises:
            ConfigError: nobody has that name.
        """

    def decode_in_training(
        self,
        latent: Tensor,
        identity: str,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Draw a latent as one person, the way that this network is trained: most are as `decode` draws.

        Args:
            latent: what `encode` gave.
            identity: one of `identities`.
            generator: of the CPU, for networks that draw random numbers here.

        Returns:
            What `decode` returns.

        Raises:
            ConfigError: nobody has that name.
        """
        return self.decode(latent, identity)

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """What `decode` returns, with a gradient that stops before whatever encodes: it reaches what draws alone.

        For losses of the swap. What encodes would learn from them to carry the target's looks through.

        Args:
            latent: what `encode` gave.
            identity: one of `identities`.

        Raises:
            ConfigError: nobody has that name.
        """
        return self.decode(latent.detach(), identity)

    def decode_morphed(self, latent: Tensor, identity: str, factor: float) -> tuple[Tensor, Tensor]:
        """Draw a latent as a mixture of two people, where `morphs` says that the network can.

        Raises:
            ConfigError: it cannot.
        """
        raise ConfigError(f"{type(self).__name__} does not morph ({identity} by {factor}); train `amp` for that")

    def forward(self, faces: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """Encode `(B, 3, R, R)` faces and decode them as `identity`."""
        return self.decode(self.encode(faces), identity)

    def index(self, identity: str) -> int:
        """The place of a person in `identities`.

        Raises:
            ConfigError: nobody has that name.
        """
        if identity not in self.identities:
            raise ConfigError(f"no identity '{identity}' in this network (it has: {', '.join(self.identities)})")
        return self.identities.index(identity)

    def whose(self, weight: str) -> str | None:
        """The person whose own a weight of `state_dict` is, None where it is everybody's.

        >>> from visagist.models import create
        >>> network = create("quick", ("source", "target"))
        >>> network.whose("decoders.1.enter.weight"), network.whose("encoder.patches.weight")
        ('target', None)
        """
        part, _, rest = weight.partition(".")
        return self.identities[int(rest.partition(".")[0])] if part in self.personal else None


def check_size(model: str, size: int, limits: tuple[int, int], step: int) -> None:
    """Refuse a size that a network cannot have.

    Args:
        model: its name, for the message.
        size: px.
        limits: the smallest and the largest, px.
        step: what sizes are multiples of, px.

    Raises:
        ConfigError: it is outside of the limits or no multiple of `step`; the message says what is.
    """
    low, high = limits
    if not low <= size <= high or size % step:
        near = sorted({min(high, max(low, size // step * step + more)) for more in (0, step)})
        raise ConfigError(
            f"model '{model}': size {size} must be a multiple of {step} from {low} to {high}, such as "
            + " or ".join(str(value) for value in near)
        )


def check_widths(model: str, widths: Mapping[str, int | tuple[int, ...]], least: int = 1) -> None:
    """Refuse widths that make no network.

    Raises:
        ConfigError: one is not in `least` to `WIDEST`.
    """
    for name, given in widths.items():
        for width in given if isinstance(given, tuple) else (given,):
            if not least <= width <= WIDEST:
                raise ConfigError(f"model '{model}': {name} {width} must be from {least} to {WIDEST}")


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Trade channels for pixels: `(B, f*f*C, H, W)` to `(B, C, f*H, f*W)`.

    The output channel is the fastest part of the input channel, unlike in `torch.pixel_shuffle`: in channels_last
    each output pixel is then one contiguous run of memory, which is 2 to 7 times faster. The result is in the layout
    that `x` is in.

    >>> x = torch.arange(8.0).reshape(1, 8, 1, 1)
    >>> depth_to_space(x, 2)[0, 0].tolist()
    [[0.0, 2.0], [4.0, 6.0]]
    """
    b, c, h, w = x.shape
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.reshape(b, factor, factor, c // factor**2, h, w).permute(0, 3, 4, 1, 5, 2)  # (B, C, H, f, W, f)
        return x.reshape(b, c // factor**2, h * factor, w * factor)
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, factor, factor, c // factor**2)  # (B, H, W, f, f, C)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // factor**2)  # (B, fH, fW, C)
    return x.permute(0, 3, 1, 2)  # channels_last by its strides


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """Trade pixels for channels: `(B, C, H, W)` to `(B, f*f*C, H/f, W/f)`, the inverse of `depth_to_space`.

    >>> x = torch.rand(2, 3, 8, 8)
    >>> bool((depth_to_space(space_to_depth(x, 4), 4) == x).all())
    True
    """
    b, c, h, w = x.shape
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.reshape(b, c, h // factor, factor, w // factor, factor).permute(0, 3, 5, 1, 2, 4)  # (B, f, f, C, H, W)
        return x.reshape(b, c * factor**2, h // factor, w // factor)
    x = x.permute(0, 2, 3, 1).reshape(b, h // factor, factor, w // factor, factor, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, c * factor**2)
    return x.permute(0, 3, 1, 2)


def laid_out(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A picture in the memory layout of the weights of the layer that it goes into; copied only where it is not yet.

    A code that becomes a picture is one in channels_last, and each convolution gives what it gets: without this, a
    network whose weights are in plain order would be in channels_last from its latent on.

    Args:
        x: `(B, C, H, W)`.
        layer: with kernels larger than 1x1, whose layout their strides tell.
    """
    last = layer.weight.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def leaky(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU, in the memory of `x`, which holds what it was no more.

    Memory that is new has to be zeroed by the kernel, page by page, which takes several times as long as the
    arithmetic; and what the gradient needs is the result's sign, so nothing is kept twice.

    >>> leaky(torch.tensor([-1.0, 2.0]), 0.1).tolist()
    [-0.10..., 2.0]
    """
    return F.leaky_relu(x, slope, True)  # in place


def start_even(network: nn.Module, slope: float) -> None:
    """Draw weights with which signals keep their strength through all layers (He et al. 2015), in place.

    Torch's own defaults weaken them threefold a layer, and the first hundred iterations go into undoing that.

    Args:
        network: whose convolutions and dense layers are meant; their biases become 0.
        slope: of the leaky ReLU after them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=slope)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def scale(layer: nn.Conv2d, factor: float) -> None:
    """Multiply the weights of `layer` by `factor`, in place."""
    with torch.no_grad():
        layer.weight.mul_(factor)
