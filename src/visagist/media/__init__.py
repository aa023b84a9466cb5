"""Files to frames and frames to files.

Frames in: `probe`, `find_footage`, `Reader`; one frame: `Frame`. Frames out: `ChunkWriter`, `join`.
One picture: `read_picture`, `write_picture`. Colour and pixel formats are converted here and nowhere else.
"""

from visagist.media.color import Color
from visagist.media.display import Display, Region
from visagist.media.footage import AudioTrack, Chapter, Footage
from visagist.media.frame import Frame, align_region, frame_from_rgb
from visagist.media.join import JoinSummary, join
from visagist.media.options import EncodeOptions, Encoding, encoding_for
from visagist.media.picture import read_picture, write_picture
from visagist.media.probe import find_footage, probe
from visagist.media.reader import Reader
from visagist.media.writer import ChunkWriter

__all__ = [
    "AudioTrack",
    "Chapter",
    "ChunkWriter",
    "Color",
    "Display",
    "EncodeOptions",
    "Encoding",
    "Footage",
    "Frame",
    "JoinSummary",
    "Reader",
    "Region",
    "align_region",
    "encoding_for",
    "find_footage",
    "frame_from_rgb",
    "join",
    "probe",
    "read_picture",
    "write_picture",
]
