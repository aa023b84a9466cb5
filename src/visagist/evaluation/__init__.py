"""How good a render is, in numbers that nobody can talk up.

- `METRICS`: what is measured, one file each

Render, unswapped target, copy-paste baseline and the detectors' own noise go through the same metrics.
"""

from visagist.evaluation.evaluation_data import Appearance, Case, Source
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.metrics.catalog import METRICS
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
]
