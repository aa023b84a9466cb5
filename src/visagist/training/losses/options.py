"""Options of the losses: a weight for each registered one, and the settings of the adversarial ones."""

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings, shown
from visagist.training.losses.registry import LOSSES

IMAGE_LOSSES = ("dssim", "absolute", "squared", "focal_frequency")  # at least one is needed to learn a face
ADVERSARIAL = ("gan", "true_face")


class _LossOptions(Settings):
    """Weights of the losses. The defaults suit most of a training; losses that are off by default refine its end."""

    group = "Losses"

    masked: bool = True
    """Train on the face and give its surroundings little weight (see `--losses.outside`). Turn off for networks that
    should also predict hair and background."""

    eyes_mouth: Annotated[float, Field(ge=0, le=100)] = 8.0
    """Priority of eyes and mouth: their additional weight over plain skin. Other detail gets up to a quarter of it."""

    outside: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Weight of pixels outside the face in masked training. Raise it for a clean rim around the face."""

    gan: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Adversarial loss, for pores and lashes: its weight relative to the gradient of the other losses. Acts during the
    cool-down. Try 0.1 to 0.3 and check the previews."""

    gan_patch: Annotated[Annotated[int, Field(ge=5, le=640)] | None, shown(unit="px")] = None
    """Receptive field of the discriminator; even values get one more. By default an eighth of the face's side."""

    gan_dims: Annotated[int, Field(ge=4, le=512)] = 16
    """Channels of the discriminator at full size. More are more sensitive and slower."""

    gan_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Label smoothing: the discriminator's label for real faces is 1 minus this."""

    gan_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Label noise: fraction of faces that the discriminator sees with the wrong label, against collapse."""

    true_face: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Adversarial loss on the latents: makes the swap resemble the source more. Acts during the cool-down. Try 0.001 to
    0.005; more suppresses expressions that only the target shows."""

    @model_validator(mode="after")
    def _learns_a_face(self) -> Self:
        if not any(self.weight(name) for name in IMAGE_LOSSES):
            raise ValueError(f"one of {', '.join(IMAGE_LOSSES)} must be above 0 to learn a face")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_additions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit unused losses of other distributions, so that a run stays readable without them."""
        unused = {name for name in LOSSES.names if name not in LOSSES.built_in and not self.weight(name)}
        return {name: value for name, value in handler(self).items() if name not in unused}

    def weight(self, name: str) -> float:
        return float(getattr(self, name, 0.0))

    @property
    def active(self) -> tuple[str, ...]:
        """Registered losses with a weight above 0."""
        return tuple(name for name in LOSSES.names if self.weight(name))

    @property
    def finishing(self) -> tuple[str, ...]:
        """Active losses that act during the cool-down only."""
        adversarial = tuple(name for name in ADVERSARIAL if self.weight(name))
        return (*(name for name in self.active if LOSSES[name].finishing), *adversarial)

    @property
    def of_swap(self) -> tuple[str, ...]:
        """Active losses that need a swap."""
        return (*(name for name in self.active if LOSSES[name].of_swap), *(("true_face",) if self.true_face else ()))

    def patch(self, size: int) -> int:
        """`gan_patch`, or its default for faces of `size` px; ConfigError if it is larger."""
        patch = max(5, size // 8) if self.gan_patch is None else self.gan_patch
        if patch > size:
            raise ConfigError(f"gan_patch {patch} is larger than the faces, {size} px; give 5 to {size}")
        return patch


def _weights() -> dict[str, Any]:
    """A field for the weight of each registered loss."""
    fields: dict[str, Any] = {}
    for name, found in LOSSES.items():
        end = " Acts during the cool-down." if found.finishing else ""
        text = found.help + end
        fields[name] = (float, Field(default=found.default, ge=0, le=found.maximum, description=text))
    return fields


if TYPE_CHECKING:
    LossOptions = _LossOptions
else:
    LossOptions = create_model("LossOptions", __base__=_LossOptions, __doc__=_LossOptions.__doc__, **_weights())
