"""Leakage: how much of the target's performer is left in the judged face."""

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.embedder import is_same_person, mean_direction
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.evaluation.metrics.identity import DLIB, MIN_SPAN

REFERENCES = 64  # frames of the target, spread evenly, that each frame is compared with
APART_S = 0.5  # nearer frames are the same picture over again

SOURCE = DLIB + "; measure by visagist"


def leakage(case: Case) -> NDArray[np.float64]:
    """Likeness `(N,)` of each judged face to the target's own frame: 0 as a stranger's, 1 as the performer's own.

    All NaN if source and performer may be one person: then nothing leaks.
    """
    unknown = np.full(len(case.judged), np.nan)
    target, judged = case.target.independent.astype(np.float64), case.judged.independent.astype(np.float64)
    centroid = case.source.centroid(case.source.independent)
    found = np.flatnonzero(np.isfinite(target).all(1))
    if len(found) == 0 or is_same_person(mean_direction(case.target.independent), centroid):
        return unknown
    cosine = (judged * target).sum(1)  # (N,)
    source = np.median(target @ case.source.independent.T.astype(np.float64), axis=1)  # (N,) the source counts once
    stranger = np.median(np.column_stack([target @ case.strangers.T.astype(np.float64), source]), axis=1)  # (N,)
    chosen = found[np.unique(np.linspace(0, len(found) - 1, REFERENCES).round().astype(int))]
    is_apart = np.abs(case.times[:, None] - case.times[chosen]) >= APART_S  # (N, R)
    # in a clip too short to hold such frames all count but the frame itself
    counts = np.where(is_apart.any(1, keepdims=True), is_apart, case.frames[:, None] != case.frames[chosen])
    own = np.where(counts, target @ target[chosen].T, np.nan)  # (N, R)
    is_known = np.isfinite(own).any(1) & np.isfinite(stranger)
    if not is_known.any():
        return unknown
    # one span for the case: frame by frame it would vanish wherever the performer is badly seen
    span = float(np.median(np.nanmedian(own[is_known], axis=1) - stranger[is_known]))
    return (cosine - stranger) / (span if span > MIN_SPAN else np.nan)


def retrieval(case: Case) -> NDArray[np.float64]:
    """1 where the source is the nearest of source, performer and strangers by mean direction, else 0, `(N,)`.

    All NaN if source and performer may be one person.
    """
    centroid, performer = case.source.centroid(case.source.independent), mean_direction(case.target.independent)
    if not np.isfinite(performer).all() or is_same_person(performer, centroid):
        return np.full(len(case.judged), np.nan)
    judged = case.judged.independent.astype(np.float64)
    nearest = (judged @ np.stack([performer, *case.strangers]).T.astype(np.float64)).max(1)
    is_source = judged @ centroid.astype(np.float64) > nearest
    return np.where(np.isfinite(nearest), is_source.astype(np.float64), np.nan)


FAMILY = (
    Metric(
        name="leakage",
        title="Leakage, 0 = a stranger, 1 = the performer",
        unit="",
        better="lower",
        formula=f"(c - u) / s: c cosine between the judged face and the target's face in the same frame; u median "
        f"cosine of that target face to strangers and to the source's real faces (the source counted once); s median "
        f"over frames of (median cosine to the performer's own frames at least {APART_S} s away) - u",
        source=SOURCE,
        fooled_by="people alike: with 240 pairs of people, real faces of the source (a perfect swap) had -0.37 to 0.28 "
        "(5th to 95th percentile). Destroying the face lowers it as well as a good swap does: read it beside identity. "
        "The unswapped target is above 1, being the very frame it is compared with. Nothing where source and performer "
        "are too alike to tell apart, as in a self-swap.",
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
        fooled_by="with few people to choose from, being nearer to the source than to anybody else is easy: 1 does not "
        "mean a good likeness, but less than 1 means a bad one. Nothing where source and performer are too alike to "
        "tell apart, as in a self-swap.",
        measure=retrieval,
        combine=lambda values: float(values.mean()),
        order=20,
    ),
)
METRICS.register(FAMILY, __name__)
