"""Predicted faces into frames: pixels alone. Files, consent and signatures are the business of `visagist.jobs`."""

from visagist.merging.options import MergeOptions
from visagist.merging.pipeline import Untouched

__all__ = ["MergeOptions", "Untouched"]
