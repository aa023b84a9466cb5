"""SFace similarity of the swap to the identity it shows."""

from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.embedder import embedder
from visagist.training.losses.registry import SwapPrediction, loss


@loss(
    maximum=10.0,
    help="Identity loss: one minus the swap's SFace similarity to the source. Try 0.03 if the swap resembles the "
    "source too little, or falls apart in poses that the source's footage lacks. Slower: every swapped face passes "
    "through another network.",
    of_swap=True,
    needs_centroid=True,
)
def identity(swap: SwapPrediction) -> Tensor:
    """One minus the cosine similarity to the identity's mean embedding, `(T,)` in [0, 2].

    Two views of one subject are below 0.4, two subjects above 0.65.
    """
    embeddings = embedder(swap.coverage, swap.rgb.shape[-1], swap.rgb.device)(swap.rgb)
    return 1 - F.cosine_similarity(embeddings, swap.centroid.expand_as(embeddings), dim=1)
