"""Predicted faces into frames: pixels only. Files, consent and signatures belong to `visagist.jobs`."""

from visagist.merging.options import MergeOptions

__all__ = ["MergeOptions"]
