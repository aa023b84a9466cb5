"""Identity: similarity of the evaluated face to the source, by dlib's embedding and by SFace."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.embedder import is_same_person, mean_direction
from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS

MIN_SPAN = 0.02  # minimum difference of cosine between strangers and the source

DLIB = "dlib's ResNet (King 2017), which is never used in training"
SFACE = "SFace (Zhong et al. 2021, OpenCV Zoo), WHICH TRAINING MAY USE in its loss"


def identity(data: EvaluationData) -> NDArray[np.float64]:
    """Cosine `(N,)` of each evaluated face to the source's mean direction."""
    return _cosines(data.evaluated.independent, data.source.centroid(data.source.independent))


def identity_share(data: EvaluationData) -> NDArray[np.float64]:
    """`identity` `(N,)` over its mean for the held-out real faces of the source."""
    return identity(data) / _held_out(data, data.source.independent)


def identity_calibrated(data: EvaluationData) -> NDArray[np.float64]:
    """`identity` `(N,)` on a scale from strangers (0) to held-out real faces of the source (1)."""
    centroid = data.source.centroid(data.source.independent)
    performer = data.target.independent[np.isfinite(data.target.independent).all(1)]
    others = _cosines(data.impostors, centroid)
    if len(performer) and not is_same_person(mean_direction(performer), centroid):  # not in a self-swap
        others = np.append(others, np.median(_cosines(performer, centroid)))
    if len(others) == 0:
        return np.full(len(data.evaluated), np.nan)
    stranger, real = float(np.median(others)), _held_out(data, data.source.independent)
    return (identity(data) - stranger) / (real - stranger if real - stranger > MIN_SPAN else np.nan)


def identity_sface(data: EvaluationData) -> NDArray[np.float64]:
    """Cosine `(N,)` of each evaluated face to the source's mean direction, by SFace."""
    return _cosines(data.evaluated.sface, data.source.centroid(data.source.sface))


def identity_sface_share(data: EvaluationData) -> NDArray[np.float64]:
    """`identity_sface` `(N,)` over its mean for the held-out real faces of the source."""
    return identity_sface(data) / _held_out(data, data.source.sface)


def _cosines(embeddings: NDArray[np.float32], direction: NDArray[np.float32]) -> NDArray[np.float64]:
    return embeddings.astype(np.float64) @ direction.astype(np.float64)


def _held_out(data: EvaluationData, embeddings: NDArray[np.float32]) -> float:
    """Mean cosine of the source's held-out faces to the mean direction of its other faces."""
    return float(_cosines(embeddings[data.source.held_out], data.source.centroid(embeddings)).mean())


_metric = partial(Metric, order=10, unit="", better="higher")
FAMILY = (
    _metric(
        name="identity",
        title="Identity (cosine)",
        formula="cosine between the embedding of the evaluated face and the mean direction of the source's real faces",
        source=DLIB,
        fooled_by="its cosines lie close together: two strangers reach 0.85, faces of the same person 0.93 to 1.00. "
        "Read the calibrated value instead. A still of the source pasted over every frame scores high.",
        measure=identity,
    ),
    _metric(
        name="identity_share",
        title="Identity, share of held-out real",
        formula="identity / mean identity of real source frames that were held out of the mean direction",
        source=DLIB,
        fooled_by="close cosines: even an unswapped target reaches 0.83 to 0.92. Compare it with the column of the "
        "unswapped target, or read the calibrated value.",
        measure=identity_share,
        aim=0.9,
    ),
    _metric(
        name="identity_calibrated",
        title="Identity, 0 = other people, 1 = held-out real",
        formula="(c - u) / (r - u): c identity; u median of the identity of strangers and of the target's performer, "
        "each counted once; r mean identity of held-out real source frames",
        source=DLIB + "; scale by visagist",
        fooled_by="people who look similar, and the small number of strangers: over 240 pairs of people, the unswapped "
        "target had -0.37 to 0.31 (5th to 95th percentile, median 0), so compare with its column. Held-out frames "
        "share the light of the source's other frames, so 1 is hard to reach in different light. Blur hardly lowers "
        "it: a blurred average of the frames of a swap had 0.81, the swap itself 0.93.",
        measure=identity_calibrated,
        aim=0.9,
    ),
    _metric(
        name="identity_sface",
        title="Identity by SFace (cosine; training may use it)",
        formula="cosine between the SFace embedding of the evaluated face and the mean direction of the source's",
        source=SFACE,
        fooled_by="training against it: a network that learned to please SFace does so here too. Trust it only if "
        "dlib's value agrees. Above 0.6 the faces are of the same person, below 0.35 of different people.",
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
