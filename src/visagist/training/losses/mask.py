"""The predicted mask against the landmark hull."""

from torch import Tensor

from visagist.training.losses.registry import FacePrediction, loss


@loss(
    default=0.5,
    help="Squared difference between the predicted mask and the landmark hull; 0 if you merge with `--mask hull`.",
)
def mask(faces: FacePrediction) -> Tensor:
    """Mean squared difference, `(B,)`."""
    return ((faces.mask - faces.hull) ** 2).mean((1, 2, 3))
