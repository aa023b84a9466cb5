"""Segmentation of aligned faces, and masks as crops carry them."""

from visagist.masks.segmentation import CLASSES, INPUT_SIDE, segment
from visagist.masks.stored import face_classes, pack, unpack, visible_face

__all__ = ["CLASSES", "INPUT_SIDE", "face_classes", "pack", "segment", "unpack", "visible_face"]
