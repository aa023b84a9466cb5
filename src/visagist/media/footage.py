"""Description of footage: its format, geometry, colour, timing and accompanying tracks."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from visagist.core.files import sha256
from visagist.media.color import Color
from visagist.media.display import Display
from visagist.media.frame import Siting


@dataclass(frozen=True)
class AudioTrack:
    """An audio track."""

    stream: int  # stream index in the file
    codec: str  # FFmpeg's name
    rate: int  # Hz
    channels: int
    language: str | None


@dataclass(frozen=True)
class Chapter:
    """A chapter; times in seconds on the footage's clock."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class Footage:
    """One video, image sequence, folder of photos or still.

    Photos may differ in size, format and colour: these attributes describe the first one.
    """

    path: Path
    kind: Literal["video", "sequence", "photos", "still"]
    container: str  # FFmpeg's name
    codec: str
    pixel_format: str  # of the frames that `Reader` yields
    converted_from: str | None  # the file's pixel format, if it is converted when read
    display: Display
    color: Color
    siting: Siting
    time_base: Fraction  # seconds; all frame times are multiples of it
    start: Fraction  # time of the first frame, seconds
    duration: Fraction | None  # of the video stream, seconds, if stated
    frames: int | None  # total, if stated by the file
    rate: Fraction | None  # average frames per second
    interlaced: bool
    stream: int = 0  # index of the video stream
    origin: Fraction = Fraction(0)  # start time of the container, seconds
    audio: tuple[AudioTrack, ...] = ()
    others: tuple[str, ...] = ()  # types of tracks that renders do not carry over
    timecode: str | None = None
    chapters: tuple[Chapter, ...] = ()
    files: tuple[Path, ...] = ()  # pictures of a sequence, or photos, in order
    reason: str | None = None  # why numbered pictures are treated as photos

    def stamps(self) -> list[tuple[str, int, int]]:
        """Name, size and modification time of every file: a quick check whether the footage changed."""
        found = [(str(file.resolve()), file.stat()) for file in self.files or (self.path,)]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]

    @property
    def width(self) -> int:
        """Display width in px."""
        return self.display.size[0]

    @property
    def height(self) -> int:
        """Display height in px."""
        return self.display.size[1]

    @property
    def rotation(self) -> int:
        """Clockwise rotation for display, degrees."""
        return self.display.rotation

    @property
    def aspect(self) -> Fraction:
        """Width / height of a stored sample."""
        return self.display.aspect


def footage_sha256(footage: Footage) -> str:
    """SHA-256 that identifies footage in tables, facesets and consent records.

    That of the file, or of the concatenated hashes of several pictures, whatever their frame rate.
    """
    if not footage.files:
        return sha256(footage.path)
    return hashlib.sha256("".join(sha256(file) for file in footage.files).encode()).hexdigest()


def photo_hashes(footage: Footage) -> tuple[str, ...] | None:
    """SHA-256 of each photo in order; None for other footage."""
    return tuple(sha256(file) for file in footage.files) if footage.kind == "photos" else None
