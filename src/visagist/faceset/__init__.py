"""Facesets: folders of a subject's aligned crops, each with its record inside the file."""

from visagist.faceset.crop import crop_face
from visagist.faceset.extraction import Extraction, ExtractSummary
from visagist.faceset.filter import filter_faces
from visagist.faceset.record import Record, read_crop, read_record, write_crop
from visagist.faceset.store import Faceset, is_alone

__all__ = [
    "ExtractSummary",
    "Extraction",
    "Faceset",
    "Record",
    "crop_face",
    "filter_faces",
    "is_alone",
    "read_crop",
    "read_record",
    "write_crop",
]
