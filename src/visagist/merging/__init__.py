"""Compositing of predicted faces into frames: pixels only, without files, consent or signatures (`visagist.jobs`)."""

from visagist.merging.options import MergeOptions

__all__ = ["MergeOptions"]
