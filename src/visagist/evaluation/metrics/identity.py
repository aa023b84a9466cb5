"""Identity: how much the judged face is the source's, by dlib's embedder and by SFace."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.embedder import is_same_person, mean_direction
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS

MIN_SPAN = 0.02  # of cosine between strangers and the source; below, nothing can be said

DLIB = "dlib's ResNet (King 2017), a network that no training here sees"
SFACE = "SFace (Zhong et al. 2021, OpenCV Zoo), THE EMBEDDER THAT TRAINING MAY USE in its loss"


def identity(case: Case) -> NDArray[np.float64]:
    """Cosine `(N,)` of each judged face to the source's mean direction."""
    return _cosines(case.judged.independent, case.source.centroid(case.source.independent))


def identity_share(case: Case) -> NDArray[np.float64]:
    """`identity` `(N,)` over what the held-out real faces of the source reach on average."""
    return identity(case) / _held_out(case, case.source.independent)


def identity_calibrated(case: Case) -> NDArray[np.float64]:
    """`identity` `(N,)` on a scale from strangers (0) to held-out real faces of the source (1)."""
    centroid = case.source.centroid(case.source.independent)
    performer = case.target.independent[np.isfinite(case.target.independent).all(1)]
    others = _cosines(case.strangers, centroid)
    if len(performer) and not is_same_person(mean_direction(performer), centroid):  # in a self-swap they are one
        others = np.append(others, np.median(_cosines(performer, centroid)))
    if len(others) == 0:
        return np.full(len(case.judged), np.nan)
    stranger, real = float(np.median(others)), _held_out(case, case.source.independent)
    return (identity(case) - stranger) / (real - stranger if real - stranger > MIN_SPAN else np.nan)


def identity_sface(case: Case) -> NDArray[np.float64]:
    """Cosine `(N,)` of each judged face to the source's mean direction, by SFace."""
    return _cosines(case.judged.sface, case.source.centroid(case.source.sface))


def identity_sface_share(case: Case) -> NDArray[np.float64]:
    """`identity_sface` `(N,)` over what the held-out real faces of the source reach on average."""
    return identity_sface(case) / _held_out(case, case.source.sface)


def _cosines(embeddings: NDArray[np.float32], direction: NDArray[np.float32]) -> NDArray[np.float64]:
    return embeddings.astype(np.float64) @ direction.astype(np.float64)


def _held_out(case: Case, embeddings: NDArray[np.float32]) -> float:
    """Mean cosine of the source's held-out real faces to the mean direction of the others."""
    return float(_cosines(embeddings[case.source.held_out], case.source.centroid(embeddings)).mean())


_metric = partial(Metric, order=10, unit="", better="higher")
FAMILY = (
    _metric(
        name="identity",
        title="Identity (cosine)",
        formula="cosine between the embedding of the judged face and the mean direction of the source's real faces",
        source=DLIB,
        fooled_by="its cosines lie close together: two strangers reach 0.85, one person's own faces 0.93 to 1.00. Read "
        "the calibrated figure. A still of the source pasted over every frame scores high.",
        measure=identity,
    ),
    _metric(
        name="identity_share",
        title="Identity, share of held-out real",
        formula="identity / mean identity of real source frames that were held out of the mean direction",
        source=DLIB,
        fooled_by="flatters: an unswapped target reaches 0.83 to 0.92. Read it beside the unswapped column, or read "
        "the calibrated figure.",
        measure=identity_share,
        aim=0.9,
    ),
    _metric(
        name="identity_calibrated",
        title="Identity, 0 = a stranger, 1 = held-out real",
        formula="(c - u) / (r - u): c identity; u median of the identity of strangers and of the target's performer, "
        "each counted once; r mean identity of held-out real source frames",
        source=DLIB + "; scale by visagist",
        fooled_by="people alike, and strangers being few: with 240 pairs of people the unswapped target had -0.37 to "
        "0.31 (5th to 95th percentile, median 0), so mind its column. Held-out frames share the light of the source's "
        "other frames, so 1 is hard to reach in another light. Blur hardly lowers it: a blurred average of a swap's "
        "frames had 0.81 where the swap had 0.93.",
        measure=identity_calibrated,
        aim=0.9,
    ),
    _metric(
        name="identity_sface",
        title="Identity by SFace (cosine; training may use it)",
        formula="cosine between the SFace embedding of the judged face and the mean direction of the source's",
        source=SFACE,
        fooled_by="training against it: a network that learnt to please SFace pleases it here too. Trust it only where "
        "dlib's figure agrees. Above 0.6 one person, below 0.35 two.",
        measure=identity_sface,
    ),
    _metric(
        name="identity_sface_share",
        title="Identity by SFace, share of held-out real (training may use it)",
        formula="SFace identity / mean SFace identity of held-out real source frames",
        source=SFACE,
        fooled_by="as SFace identity: training against it.",
        measure=identity_sface_share,
    ),
)
METRICS.register(FAMILY, __name__)
