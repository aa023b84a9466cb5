"""What a user may choose about the losses.

- `LossOptions`: a weight for each of them; 0 leaves it out, and with it what it would cost
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings

Weight = Annotated[float, Field(ge=0, le=100)]


class LossOptions(Settings):
    """What training minimises: a weighted sum. The defaults suit the whole of a training; the rest is for its end."""

    masked: bool = True
    """Train on the face, and hardly on what is around it (see outside); without it every pixel counts as skin does, for
    networks that shall draw hair and background too."""

    dssim: Weight = 1.0
    """Structure in windows of several sizes, what an eye sees; 0 to 100. The main loss: leave it on."""

    absolute: Weight = 1.0
    """Absolute difference of the pixels (L1): colours and light, with crisp edges; 0 to 100."""

    squared: Weight = 0.0
    """Squared difference of the pixels (L2, MSE), softer than absolute; 0 to 100. For runs like the old tools'."""

    edges: Weight = 1.0
    """Difference of the steps between neighbouring pixels: sharper lids, lashes and teeth; 0 to 100."""

    focal_frequency: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Difference of the spectra, worst frequencies first; 0 to 1000. Try 50, a tenth of what the defaults pull, where
    skin stays smooth however long you train."""

    mask: Weight = 0.5
    """Squared difference of the drawn mask from the face's outline; 0 to 100. 0 where you merge without drawn masks."""

    eyes_mouth: Weight = 8.0
    """Priority of eyes and mouth: how much more than plain skin they count, and at most a quarter of it whatever else
    has detail; 0 to 100. 0 for none."""

    outside: Annotated[float, Field(ge=0, le=1)] = 0.05
    """What a pixel outside the face counts in masked training; 0 to 1. More for a clean rim around the face."""

    finish: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Part of the training, its end, in which face_style, background_style, gan and true_face act; above 0 to 1 (from
    the beginning). Before, they would work against what is still to be learnt."""

    face_style: Weight = 0.0
    """The swap takes on light and colours of the target's face, where the merge's colour transfer does not do; 0 to
    100. Try 1; its features stay those that it had when this began to act."""

    background_style: Weight = 0.0
    """The swap continues the target's own surroundings of the face; 0 to 100. Try 1 with coverages whole and head."""

    identity: Annotated[float, Field(ge=0, le=10)] = 0.0
    """One minus the swap's SFace similarity to the source; 0 to 10. Try 0.03 where the swap resembles the
    source too little, or falls apart in poses that the source's footage has not; costs one more network on every
    swapped face."""

    gan: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Deceive a network that tells drawn from real, for pores and lashes: how strongly, as a part of what the losses
    of faces drawn as themselves pull; 0 to 10. Try 0.1 to 0.3, and look at the previews."""

    gan_patch: Annotated[int, Field(ge=5, le=640)] | None = None
    """Side in px of what that network looks at as one piece, odd (an even one sees one more); 5 to 640. Without it, an
    eighth of the face's side."""

    gan_dims: Annotated[int, Field(ge=4, le=512)] = 16
    """Channels of that network at full size; 4 to 512. More sees more and takes longer."""

    gan_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """How far below 1 the label of a real face is, which keeps that network from being too sure; 0 to below 0.5."""

    gan_noise: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Part of the faces shown to that network with the wrong label, against collapse; 0 to below 0.5."""

    true_face: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Deceive a network that tells from the latent whose face was encoded: the swap comes out more like the source; 0
    to 1. From 0.001 to 0.005; more wipes out what only the target does with lids and lips."""

    @model_validator(mode="after")
    def _draws_something(self) -> Self:
        if not (self.dssim or self.absolute or self.squared or self.focal_frequency):
            raise ValueError("one of dssim, absolute, squared and focal_frequency must be above 0 to learn a face")
        return self

    @property
    def styles(self) -> bool:
        """Whether a loss compares the swap with the target's own crops."""
        return bool(self.face_style or self.background_style)

    @property
    def late(self) -> tuple[str, ...]:
        """The losses asked for that act in the training's end alone."""
        return tuple(name for name in ("face_style", "background_style", "gan", "true_face") if getattr(self, name))

    def patch(self, size: int) -> int:
        """`gan_patch`, or what stands for it at faces of `size` px.

        Raises:
            ConfigError: it is larger than a face.

        >>> LossOptions().patch(128)
        16
        """
        patch = max(5, size // 8) if self.gan_patch is None else self.gan_patch
        if patch > size:
            raise ConfigError(f"gan_patch {patch} is larger than the faces, {size} px; give 5 to {size}")
        return patch
