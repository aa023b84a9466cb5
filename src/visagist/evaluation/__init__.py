"""How good a render is: metrics, baselines and the report.

The render, the unswapped target, a copy-paste baseline and the detectors' own noise go through the same metrics.
"""

from visagist.evaluation.evaluation_data import Appearance, Case, Source
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.metrics import METRICS, all_metrics
from visagist.evaluation.result import Column, Evaluation, Flag

__all__ = [
    "METRICS",
    "Appearance",
    "Case",
    "Column",
    "Evaluation",
    "Figure",
    "Flag",
    "Metric",
    "Source",
    "all_metrics",
]
