"""Evaluation of renders: metrics, baselines and the report.

The render and three references (unswapped target, copy-paste, detector noise) go through the same metrics.
"""

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.metrics import METRICS, all_metrics
from visagist.evaluation.result import Column, Evaluation, Flag

__all__ = [
    "METRICS",
    "Column",
    "Evaluation",
    "EvaluationData",
    "FaceObservations",
    "Figure",
    "Flag",
    "Metric",
    "Source",
    "all_metrics",
]
