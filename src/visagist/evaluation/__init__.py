"""How good a render is, in numbers that nobody can talk up.

- `evaluate`: a render, its target and its source to an `Evaluation`
- `METRICS`: what is measured, one file each

Render, unswapped target, copy-paste baseline and the detectors' own noise go through the same metrics.
"""

from visagist.evaluation.case import Appearance, Case, Source
from visagist.evaluation.evaluate import EvaluateOptions, evaluate
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.metrics import METRICS
from visagist.evaluation.result import Column, Evaluation, Flag

__all__ = [
    "METRICS",
    "Appearance",
    "Case",
    "Column",
    "EvaluateOptions",
    "Evaluation",
    "Figure",
    "Flag",
    "Metric",
    "Source",
    "evaluate",
]
