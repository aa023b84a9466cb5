"""Options of the losses: a weight for each registered one, and the settings of the adversarial ones."""

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings
from visagist.training.losses.registry import LOSSES

IMAGE_LOSSES = ("dssim", "absolute", "squared", "focal_frequency")  # one of them is needed to learn a face
ADVERSARIAL = ("gan", "true_face")


class _LossOptions(Settings):
    """Weights of the losses. The defaults suit most of a training; losses that are off by default refine its end."""

    masked: bool = True
    """Train on the face, and hardly on its surroundings (see outside). Without it all pixels weigh at least as much as
    skin, for networks that also predict hair and background."""

    eyes_mouth: Annotated[float, Field(ge=0, le=100)] = 8.0
    """Priority of eyes and mouth: their additional weight over plain skin; other detail gets up to a quarter of it. 0
    (none) to 100."""

    outside: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Weight of pixels outside the face in masked training; 0 to 1. Raise it for a clean rim around the face."""

    gan: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Adversarial loss weight, for pores and lashes: relative to the gradient of the losses of reconstructed faces;
    0 to 10. Acts during the cool-down. Try 0.1 to 0.3, and check the previews."""

    gan_patch: Annotated[int, Field(ge=5, le=640)] | None = None
    """Receptive field of the discriminator in px, odd (even values get one more); 5 to 640. By default an eighth of the
    face's side."""

    gan_dims: Annotated[int, Field(ge=4, le=512)] = 16
    """Channels of the discriminator at full size; 4 to 512. More are more sensitive and slower."""

    gan_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """Label smoothing: real faces have the label 1 minus this; 0 to below 0.5."""

    gan_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Label noise: fraction of faces with the wrong label, against collapse; 0 to below 0.5."""

    true_face: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Adversarial loss weight on the latents, which makes the swap resemble the source more; 0 to 1. Acts during the
    cool-down. Try 0.001 to 0.005; more removes expressions of lids and lips that only the target makes."""

    @model_validator(mode="after")
    def _learns_a_face(self) -> Self:
        if not any(self.weight(name) for name in IMAGE_LOSSES):
            raise ValueError(f"one of {', '.join(IMAGE_LOSSES)} must be above 0 to learn a face")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_additions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out unused losses of other distributions: a run must be readable without them."""
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
        text = f"{found.help} 0 to {found.maximum:g}.{end}"
        fields[name] = (float, Field(default=found.default, ge=0, le=found.maximum, description=text))
    return fields


if TYPE_CHECKING:
    LossOptions = _LossOptions
else:
    LossOptions = create_model("LossOptions", __base__=_LossOptions, __doc__=_LossOptions.__doc__, **_weights())
