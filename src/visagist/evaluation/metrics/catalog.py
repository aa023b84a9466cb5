"""All metrics, in the order of the report, and which of them the detectors' noise touches."""

from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import (
    background,
    expression,
    flicker,
    identity,
    jitter,
    leakage,
    pose,
    seam,
    sharpness,
)

METRICS: tuple[Metric, ...] = (
    *identity.METRICS,
    *leakage.METRICS,
    *pose.METRICS,
    *expression.METRICS,
    *sharpness.METRICS,
    *seam.METRICS,
    *flicker.METRICS,
    *jitter.METRICS,
    *background.METRICS,
)

# What the detectors say of a face, and so what their own noise can be told of.
OF_DETECTORS = frozenset(metric.name for metric in (*pose.METRICS, *expression.METRICS, *jitter.METRICS))
