"""Options of the losses: a weight for each registered one, and what the adversarial ones need."""

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings
from visagist.training.losses.registry import LOSSES

PICTURE_LOSSES = ("dssim", "absolute", "squared", "focal_frequency")  # one is needed to learn a face
ADVERSARIAL = ("gan", "true_face")


class _LossOptions(Settings):
    """What training minimises: a weighted sum. The defaults suit the whole of a training; the rest is for its end."""

    masked: bool = True
    """Train on the face, and hardly on what is around it (see outside); without it every pixel counts as skin does, for
    networks that shall draw hair and background too."""

    eyes_mouth: Annotated[float, Field(ge=0, le=100)] = 8.0
    """Priority of eyes and mouth: how much more than plain skin they count, and at most a quarter of it whatever else
    has detail; 0 to 100. 0 for none."""

    outside: Annotated[float, Field(ge=0, le=1)] = 0.05
    """What a pixel outside the face counts in masked training; 0 to 1. More for a clean rim around the face."""

    gan: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Adversarial loss weight, for pores and lashes: relative to the gradient of the losses of reconstructed faces;
    0 to 10. Acts during the cool-down. Try 0.1 to 0.3, and look at the previews."""

    gan_patch: Annotated[int, Field(ge=5, le=640)] | None = None
    """Side in px of what the discriminator judges as one piece, odd (an even one sees one more); 5 to 640. Without it,
    an eighth of the face's side."""

    gan_dims: Annotated[int, Field(ge=4, le=512)] = 16
    """Channels of the discriminator at full size; 4 to 512. More sees more and takes longer."""

    gan_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Label smoothing: how far below 1 the label of a real face is; 0 to below 0.5."""

    gan_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Part of the faces shown to the discriminator with the wrong label, against collapse; 0 to below 0.5."""

    true_face: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Adversarial loss on the latent: the swap comes out more like the source; 0 to 1. Acts during the cool-down. From
    0.001 to 0.005; more wipes out what only the target does with lids and lips."""

    @model_validator(mode="after")
    def _learns_a_face(self) -> Self:
        if not any(self.weight(name) for name in PICTURE_LOSSES):
            raise ValueError(f"one of {', '.join(PICTURE_LOSSES)} must be above 0 to learn a face")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_additions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out losses of other distributions that are off: a run must be readable without them."""
        unused = {name for name in LOSSES.names if name not in LOSSES.built_in and not self.weight(name)}
        return {name: value for name, value in handler(self).items() if name not in unused}

    def weight(self, name: str) -> float:
        """The weight of a loss by its name."""
        return float(getattr(self, name, 0.0))

    @property
    def active(self) -> tuple[str, ...]:
        """Registered losses with a weight above 0."""
        return tuple(name for name in LOSSES.names if self.weight(name))

    @property
    def finishing(self) -> tuple[str, ...]:
        """The losses asked for that act during the cool-down only."""
        adversarial = tuple(name for name in ADVERSARIAL if self.weight(name))
        return (*(name for name in self.active if LOSSES[name].finishing), *adversarial)

    @property
    def of_swap(self) -> tuple[str, ...]:
        """The losses asked for that need a swap of one identity for another."""
        return (*(name for name in self.active if LOSSES[name].of_swap), *(("true_face",) if self.true_face else ()))

    def patch(self, size: int) -> int:
        """`gan_patch`, or its default for faces of `size` px.

        Raises:
            ConfigError: it is larger than a face.

        >>> LossOptions().patch(128)
        16
        """
        patch = max(5, size // 8) if self.gan_patch is None else self.gan_patch
        if patch > size:
            raise ConfigError(f"gan_patch {patch} is larger than the faces, {size} px; give 5 to {size}")
        return patch


def _weights() -> dict[str, Any]:
    """A field for the weight of each registered loss."""
    fields: dict[str, Any] = {}
    for name, found in LOSSES.items():
        end = " Acts during the cool-down." if found.finishing else ""
        text = f"{found.help} 0 to {found.maximum:g}.{end}"
        fields[name] = (float, Field(default=found.default, ge=0, le=found.maximum, description=text))
    return fields


if TYPE_CHECKING:
    LossOptions = _LossOptions
else:
    LossOptions = create_model("LossOptions", __base__=_LossOptions, __doc__=_LossOptions.__doc__, **_weights())
