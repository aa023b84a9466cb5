"""L1, which weighs errors linearly and so preserves edges."""

from torch import Tensor

from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import FacePrediction, loss


@loss(default=1.0, help="Absolute pixel difference (L1): colour and light, with crisp edges.")
def absolute(faces: FacePrediction) -> Tensor:
    """Mean absolute difference, `(B,)`."""
    return face_mean((faces.rgb - faces.truth).abs(), faces.weights)
