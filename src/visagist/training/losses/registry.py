"""The registry of losses.

A loss is a pure function, one file each, that registers itself:

    @loss(default=0.0, maximum=100, help="Squared difference of the pixels (L2, MSE).")
    def squared(faces: FacePrediction) -> Tensor:
        return face_mean((faces.rgb - faces.truth) ** 2, faces.weights)

It returns one value per face. The criterion sums them and divides by the number of faces in the whole batch, whichever
parts or processes compute it. Images are float32 RGB in [0, 1], outside of autocast. Other distributions add losses
through the entry-point group `visagist.losses`.
"""

from __future__ import annotations  # names are listed without importing torch

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visagist.core.registry import Registry
from visagist.core.types import Coverage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FacePrediction:
    """Faces reconstructed as their own identity.

    Attributes:
        rgb: `(B, 3, R, R)` predicted faces.
        mask: `(B, 1, R, R)` predicted masks in [0, 1].
        truth: `(B, 3, R, R)` real faces.
        hull: `(B, 1, R, R)` their landmark hulls in [0, 1].
        weights: `(B, 1, R, R)` weight of each pixel, >= 0 (see `pixel_weights`).
    """

    rgb: Tensor
    mask: Tensor
    truth: Tensor
    hull: Tensor
    weights: Tensor


@dataclass(frozen=True)
class SwapPrediction:
    """The target's faces, predicted as another identity; there is no ground truth.

    Gradients reach the decoder only (`Swapper.decode_for_swap`): the encoder would learn from these losses to pass on
    the target's looks.

    Attributes:
        rgb: `(T, 3, R, R)` predicted faces.
        target: `(T, 3, R, R)` the real faces that were encoded.
        hull: `(T, 1, R, R)` their landmark hulls in [0, 1].
        before: `(T, 3, R, R)` predictions by the network at the start of the cool-down, for losses with `needs_before`.
        centroid: `(128,)` mean SFace embedding of the predicted identity; empty if unknown.
        coverage: of the faces.
    """

    rgb: Tensor
    target: Tensor
    hull: Tensor
    before: Tensor | None
    centroid: Tensor
    coverage: Coverage


@dataclass(frozen=True)
class Loss:
    """A loss and its option, `--losses.NAME WEIGHT`.

    Attributes:
        function: `FacePrediction` or `SwapPrediction` to one value per face, `(B,)` or `(T,)`.
        help: for the command line, one or two sentences.
        default: weight; at 0 the loss is not computed.
        maximum: largest sensible weight.
        of_swap: the function takes a `SwapPrediction`.
        finishing: acts during the cool-down only.
        needs_before: reads `SwapPrediction.before`.
        needs_centroid: reads `SwapPrediction.centroid`.
    """

    function: Callable[..., Tensor]
    help: str
    default: float = 0.0
    maximum: float = 100.0
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


def loss(**attributes: Any) -> Callable[[Callable[..., Tensor]], Loss]:
    """Make a function a `Loss` with these attributes, and register it under the name of its file."""
    return lambda function: LOSSES.register(Loss(function, **attributes), function.__module__)
