"""Segmentation of aligned faces."""

from visagist.masks.segmentation import CLASSES, INPUT_SIDE, segment

__all__ = ["CLASSES", "INPUT_SIDE", "segment"]
