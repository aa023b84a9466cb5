"""A subject's crops on disk: `extract` fills a folder, `Faceset` opens it; each crop carries its own `Record`."""

from visagist.faceset.extract import ExtractOptions, ExtractSummary, crop_face, extract, is_alone
from visagist.faceset.filter import choose
from visagist.faceset.record import Record, read_crop, read_record, write_crop
from visagist.faceset.store import Faceset

__all__ = [
    "ExtractOptions",
    "ExtractSummary",
    "Faceset",
    "Record",
    "choose",
    "crop_face",
    "extract",
    "is_alone",
    "read_crop",
    "read_record",
    "write_crop",
]
