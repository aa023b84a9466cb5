"""Leakage: how much of the performer's identity remains in the evaluated face."""

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.embedder import is_same_person, mean_direction
from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.evaluation.metrics.identity import DLIB, MIN_SPAN

REFERENCES = 64  # evenly spaced frames of the target that each frame is compared with
APART_S = 0.5  # closer frames are nearly the same picture

SOURCE = DLIB + "; scale by visagist"


def leakage(data: EvaluationData) -> NDArray[np.float64]:
    """Similarity `(N,)` of each evaluated face to the target's face: 0 like a stranger, 1 like the performer.

    NaN if source and performer may be the same person.
    """
    unknown = np.full(len(data.evaluated), np.nan)
    target, evaluated = data.target.independent.astype(np.float64), data.evaluated.independent.astype(np.float64)
    centroid = data.source.centroid(data.source.independent)
    found = np.flatnonzero(np.isfinite(target).all(1))
    if len(found) == 0 or is_same_person(mean_direction(data.target.independent), centroid):
        return unknown
    cosine = (evaluated * target).sum(1)  # (N,)
    source = np.median(target @ data.source.independent.T.astype(np.float64), axis=1)  # (N,) the source counts once
    stranger = np.median(np.column_stack([target @ data.impostors.T.astype(np.float64), source]), axis=1)  # (N,)
    chosen = found[np.unique(np.linspace(0, len(found) - 1, REFERENCES).round().astype(int))]
    is_apart = np.abs(data.times[:, None] - data.times[chosen]) >= APART_S  # (N, R)
    # In a clip too short for that, all frames count except the frame itself.
    counts = np.where(is_apart.any(1, keepdims=True), is_apart, data.frames[:, None] != data.frames[chosen])
    own = np.where(counts, target @ target[chosen].T, np.nan)  # (N, R)
    is_known = np.isfinite(own).any(1) & np.isfinite(stranger)
    if not is_known.any():
        return unknown
    # One span for all frames: per frame, it would vanish where the performer is barely visible.
    span = float(np.median(np.nanmedian(own[is_known], axis=1) - stranger[is_known]))
    return (cosine - stranger) / (span if span > MIN_SPAN else np.nan)


def retrieval(data: EvaluationData) -> NDArray[np.float64]:
    """1 where the evaluated face is closest to the source among source, performer and strangers, else 0; `(N,)`.

    NaN if source and performer may be the same person.
    """
    centroid, performer = data.source.centroid(data.source.independent), mean_direction(data.target.independent)
    if not np.isfinite(performer).all() or is_same_person(performer, centroid):
        return np.full(len(data.evaluated), np.nan)
    evaluated = data.evaluated.independent.astype(np.float64)
    nearest = (evaluated @ np.stack([performer, *data.impostors]).T.astype(np.float64)).max(1)
    is_source = evaluated @ centroid.astype(np.float64) > nearest
    return np.where(np.isfinite(nearest), is_source.astype(np.float64), np.nan)


FAMILY = (
    Metric(
        name="leakage",
        title="Leakage, 0 = other people, 1 = the performer",
        unit="",
        better="lower",
        formula=f"(c - u) / s: c cosine between the evaluated face and the target's face in the same frame; u median "
        f"cosine of that target face to strangers and to the source's real faces (the source counted once); s median "
        f"over frames of (median cosine to the performer's own frames at least {APART_S} s away) - u",
        source=SOURCE,
        fooled_by="people who look similar: over 240 pairs of people, real faces of the source (a perfect swap) had "
        "-0.37 to 0.28 (5th to 95th percentile). Destroying the face lowers it as much as a good swap: read it beside "
        "identity. The unswapped target is above 1, because it is compared with itself. Not measured if source and "
        "performer are too similar to distinguish, as in a self-swap.",
        measure=leakage,
        order=20,
    ),
    Metric(
        name="retrieval",
        title="Taken for the source",
        unit="",
        better="higher",
        formula="share of frames whose nearest mean direction, of the source, the performer and the strangers, is the "
        "source's",
        source=SOURCE,
        fooled_by="the small number of people, which makes it easy to be closest to the source: 1 does not mean a good "
        "likeness, but less than 1 means a bad one. Not measured if source and performer are too similar to "
        "distinguish, as in a self-swap.",
        measure=retrieval,
        combine=lambda values: float(values.mean()),
        order=20,
    ),
)
METRICS.register(FAMILY, __name__)
