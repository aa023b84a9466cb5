"""A subject's crops on disk: `Faceset` opens a folder; each crop carries its own `Record`."""

from visagist.faceset.crop import crop_face
from visagist.faceset.extraction import Extraction, ExtractSummary
from visagist.faceset.filter import choose
from visagist.faceset.record import Record, read_crop, read_record, write_crop
from visagist.faceset.store import Faceset, is_alone

__all__ = [
    "ExtractSummary",
    "Extraction",
    "Faceset",
    "Record",
    "choose",
    "crop_face",
    "is_alone",
    "read_crop",
    "read_record",
    "write_crop",
]
