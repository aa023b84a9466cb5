"""The registry of losses.

A loss is a pure function, one file each, that registers itself:

    @loss(default=0.0, maximum=100, help="Squared difference of the pixels (L2, MSE).")
    def squared(faces: FacePrediction) -> Tensor:
        return face_mean((faces.rgb - faces.truth) ** 2, faces.weights)

It returns one value per face. The criterion divides their sum by the number of faces in the whole batch, over all parts
and processes. Images are float32 RGB in [0, 1], outside of autocast. Other distributions add losses
through the entry-point group `visagist.losses`.
"""

from __future__ import annotations  # so that losses can be listed without importing torch

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visagist.core.registry import Registry
from visagist.core.types import Coverage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FacePrediction:
    """Faces reconstructed as their own identity."""

    rgb: Tensor  # (B, 3, R, R) predicted faces
    mask: Tensor  # (B, 1, R, R) predicted masks in [0, 1]
    truth: Tensor  # (B, 3, R, R) real faces
    hull: Tensor  # (B, 1, R, R) their landmark hulls in [0, 1]
    weights: Tensor  # (B, 1, R, R) weight of each pixel, >= 0 (see `pixel_weights`)


@dataclass(frozen=True)
class SwapPrediction:
    """The target's faces predicted as another identity, without ground truth.

    Only the decoder gets gradients (`Swapper.decode_for_swap`); the encoder would learn to pass on the target's
    appearance.
    """

    rgb: Tensor  # (T, 3, R, R) predicted faces
    target: Tensor  # (T, 3, R, R) the real faces that were encoded
    hull: Tensor  # (T, 1, R, R) their landmark hulls in [0, 1]
    before: Tensor | None  # (T, 3, R, R) predicted by the network at the start of the cool-down
    centroid: Tensor  # (128,) mean SFace embedding of the predicted identity; empty if unknown
    coverage: Coverage


@dataclass(frozen=True)
class Loss:
    """A loss and its option, `--losses.NAME WEIGHT`."""

    function: Callable[..., Tensor]  # FacePrediction or SwapPrediction to one value per face
    help: str  # for the command line, one or two sentences
    default: float = 0.0  # weight; at 0 the loss is not computed
    maximum: float = 100.0  # largest sensible weight
    of_swap: bool = False  # the function takes a SwapPrediction
    finishing: bool = False  # acts during the cool-down only
    needs_before: bool = False  # reads SwapPrediction.before
    needs_centroid: bool = False  # reads SwapPrediction.centroid

    def __call__(self, prediction: FacePrediction | SwapPrediction) -> Tensor:
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
