"""L2, which is dominated by large errors."""

from torch import Tensor

from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import FacePrediction, loss


@loss(help="Squared pixel difference (L2, MSE): softer than `absolute`, as used by older tools.")
def squared(faces: FacePrediction) -> Tensor:
    """Mean squared difference, `(B,)`."""
    return face_mean((faces.rgb - faces.truth) ** 2, faces.weights)
