"""What a loss is, and where it is found.

A loss is a pure function, one file each, that registers itself:

    @loss(default=0.0, maximum=100, help="Squared difference of the pixels (L2, MSE).")
    def squared(faces: FacePrediction) -> Tensor:
        return face_mean((faces.rgb - faces.truth) ** 2, faces.weights)

It returns one value per face. The trainer sums them and divides by the faces of the whole batch, so that a batch may be
computed in parts or by several processes, and no loss has to know. Pictures are float32 RGB in [0, 1], outside of
autocast: a variance as the difference of two means does not survive bf16.

Other distributions add losses through the entry-point group `visagist.losses`.
"""

from __future__ import annotations  # names are listed without importing torch

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visagist.core.registry import Registry
from visagist.core.types import Coverage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FacePrediction:
    """Faces of any identities, each predicted as itself.

    Attributes:
        rgb: `(B, 3, R, R)` predicted faces.
        mask: `(B, 1, R, R)` predicted masks in [0, 1].
        truth: `(B, 3, R, R)` real faces.
        hull: `(B, 1, R, R)` their landmark hulls in [0, 1].
        weights: `(B, 1, R, R)` >= 0, what each pixel counts (see `pixel_weights`).
    """

    rgb: Tensor
    mask: Tensor
    truth: Tensor
    hull: Tensor
    weights: Tensor


@dataclass(frozen=True)
class SwapPrediction:
    """The target's faces, predicted as another identity. They have no truth to compare with.

    Gradients reach what decodes, not what encodes (`Swapper.decode_for_swap`): an encoder would learn from these losses
    to carry the target's looks through.

    Attributes:
        rgb: `(T, 3, R, R)` predicted faces.
        target: `(T, 3, R, R)` the real faces that were encoded.
        hull: `(T, 1, R, R)` their landmark hulls in [0, 1].
        before: `(T, 3, R, R)` what the network predicted when the cool-down began, for losses with `needs_before`.
        centroid: `(128,)` mean SFace embedding of the identity predicted; empty if unknown.
        coverage: how much of the head the faces show.
    """

    rgb: Tensor
    target: Tensor
    hull: Tensor
    before: Tensor | None
    centroid: Tensor
    coverage: Coverage


@dataclass(frozen=True)
class Loss:
    """A loss with its option, `--losses.NAME WEIGHT`.

    Attributes:
        function: `FacePrediction` or `SwapPrediction` to one value per face, `(B,)` or `(T,)`.
        default: its weight; 0 leaves it out, and with it its cost.
        maximum: largest weight that makes sense.
        help: for the command line, one or two sentences.
        of_swap: the function takes a `SwapPrediction`.
        finishing: acts during the cool-down only; before, it would work against what is still to be learnt.
        needs_before: reads `SwapPrediction.before`.
        needs_centroid: reads `SwapPrediction.centroid`.
    """

    function: Callable[..., Tensor]
    default: float
    maximum: float
    help: str
    of_swap: bool = False
    finishing: bool = False
    needs_before: bool = False
    needs_centroid: bool = False

    def __call__(self, prediction: FacePrediction | SwapPrediction) -> Tensor:
        """One value per face."""
        return self.function(prediction)


LOSSES: Registry[Loss] = Registry(
    "loss",
    "visagist.training.losses",
    "visagist.losses",
    besides=("adversary", "discriminators", "embedder", "options", "pixels", "registry", "ssim"),
)


def loss(
    *,
    default: float = 0.0,
    maximum: float = 100.0,
    help: str,  # noqa: A002 - what the command line calls it
    of_swap: bool = False,
    finishing: bool = False,
    needs_before: bool = False,
    needs_centroid: bool = False,
) -> Callable[[Callable[..., Tensor]], Loss]:
    """Make a function a `Loss`, and register it under the name of its file; arguments are attributes of `Loss`."""

    def made(function: Callable[..., Tensor]) -> Loss:
        found = Loss(function, default, maximum, help, of_swap, finishing, needs_before, needs_centroid)
        return LOSSES.register(found, function.__module__)

    return made
