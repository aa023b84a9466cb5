"""Whose face the swap is, by SFace: pulls it towards the source."""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.core.types import Coverage
from visagist.training.losses.embedder import FaceEmbedder
from visagist.training.losses.registry import SwapPrediction, loss


@loss(
    maximum=10.0,
    help="One minus the swap's SFace similarity to the source. Try 0.03 if the swap resembles the source too little, "
    "or falls apart in poses that the source's footage has not; costs one more network on every swapped face.",
    of_swap=True,
    needs_centroid=True,
)
def identity(swap: SwapPrediction) -> Tensor:
    """One minus the cosine to the identity's mean embedding, `(T,)` in [0, 2].

    Two views of one subject are below 0.4, two subjects above 0.65.
    """
    embeddings = embedder(swap.coverage, swap.rgb.shape[-1], swap.rgb.device)(swap.rgb)
    return 1 - F.cosine_similarity(embeddings, swap.centroid.expand_as(embeddings), dim=1)


@functools.lru_cache(maxsize=4)
def embedder(coverage: Coverage, size: int, device: torch.device) -> FaceEmbedder:
    """The embedder of faces of one kind on one device; it does not change by training.

    Raises:
        ConfigError: the coverage does not show eyes, nose and mouth.
        WeightsError: the embedder's file is missing, altered, or cannot be run with gradients.
    """
    return FaceEmbedder(coverage, size).to(device)
