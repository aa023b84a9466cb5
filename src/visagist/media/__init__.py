"""Footage I/O: probing, decoding and encoding frames. All colour and pixel format conversions happen here.

Input: `probe`, `find_footage`, `Reader`. Output: `ChunkWriter`, `join`. Pictures: `read_picture`, `write_picture`.
"""

from visagist.media.color import Color
from visagist.media.display import Display, Region
from visagist.media.footage import AudioTrack, Chapter, Footage, footage_sha256, photo_hashes
from visagist.media.frame import Frame, align_region, frame_from_rgb
from visagist.media.join import JoinSummary, join
from visagist.media.options import EncodeOptions, Encoding, encoding_for
from visagist.media.picture import encode_picture, read_picture, write_picture
from visagist.media.probe import find_footage, probe, probe_shot
from visagist.media.rate import DEFAULT_RATE, FrameRate, note_reading, parse_rate
from visagist.media.reader import Reader, read_frames
from visagist.media.writer import ChunkWriter

__all__ = [
    "DEFAULT_RATE",
    "AudioTrack",
    "Chapter",
    "ChunkWriter",
    "Color",
    "Display",
    "EncodeOptions",
    "Encoding",
    "Footage",
    "Frame",
    "FrameRate",
    "JoinSummary",
    "Reader",
    "Region",
    "align_region",
    "encode_picture",
    "encoding_for",
    "find_footage",
    "footage_sha256",
    "frame_from_rgb",
    "join",
    "note_reading",
    "parse_rate",
    "photo_hashes",
    "probe",
    "probe_shot",
    "read_frames",
    "read_picture",
    "write_picture",
]
