"""The predicted mask against the face."""

from torch import Tensor

from visagist.training.losses.registry import FacePrediction, loss


@loss(
    default=0.5,
    help="Squared difference between the predicted mask and the face: the landmark hull without hair and hands. 0 if "
    "you merge with `--mask hull`.",
)
def mask(faces: FacePrediction) -> Tensor:
    """Mean squared difference, `(B,)`."""
    return ((faces.mask - faces.hull) ** 2).mean((1, 2, 3))
