"""Match of the swap's surroundings with the target's hair, ears and background."""

from torch import Tensor

from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import SwapPrediction, loss
from visagist.training.losses.ssim import multiscale_dssim


@loss(
    help="Make the swap match the target's pixels around the face. Try 1 with `--coverage whole` or `head`.",
    of_swap=True,
    finishing=True,
)
def background_style(swap: SwapPrediction) -> Tensor:
    """DSSIM and squared difference between the swap and the target's crop outside the hull, `(T,)`.

    Inside the hull the swap is replaced by the target, so windows across the edge see no difference there, and the face
    gets no gradient.
    """
    outside = 1 - swap.hull
    rgb = swap.target + (swap.rgb - swap.target) * outside
    return multiscale_dssim(rgb, swap.target, outside) + face_mean((rgb - swap.target) ** 2, outside)
