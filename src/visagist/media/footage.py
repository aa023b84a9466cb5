"""What is known of footage before it is read.

- `Footage`: one video, image sequence, folder of photos or still
- `AudioTrack`, `Chapter`: what accompanies its pictures
- `footage_sha256`: the hash that tables, facesets and consent records know footage by
- `photo_hashes`: of photos, of which facesets and consent records know each by its own
"""

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
    """One sound track."""

    stream: int  # index of the stream in the file
    codec: str  # FFmpeg's name of the decoder
    rate: int  # samples a second
    channels: int
    language: str | None


@dataclass(frozen=True)
class Chapter:
    """A named stretch; seconds on the footage's clock."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class Footage:
    """One video, image sequence, folder of photos or still. Sizes are display px: upright, square pixels.

    Photos differ in size, format and colour; what is said here is of the first one, and each frame says its own.
    """

    path: Path
    kind: Literal["video", "sequence", "photos", "still"]
    container: str  # FFmpeg's name of the file format
    codec: str
    pixel_format: str  # of the frames that a Reader yields
    converted_from: str | None  # the file's own pixel format where visagist does not read it natively
    display: Display
    color: Color
    siting: Siting
    time_base: Fraction  # every frame's time is a whole multiple of it
    start: Fraction  # seconds of the first frame
    duration: Fraction | None  # seconds of the pictures, where stated
    frames: int | None  # the total that the file states
    rate: Fraction | None  # frames a second, on average
    interlaced: bool
    stream: int = 0  # index of the video stream in the file
    origin: Fraction = Fraction(0)  # the container's own start, seconds
    audio: tuple[AudioTrack, ...] = ()
    others: tuple[str, ...] = ()  # kinds of tracks that a render does not carry over
    timecode: str | None = None
    chapters: tuple[Chapter, ...] = ()
    files: tuple[Path, ...] = ()  # the pictures of a sequence, or the photos, in order
    reason: str | None = None  # why numbered pictures are read as photos

    def stamps(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of every file: tells at once whether the footage is what it was."""
        found = [(str(file.resolve()), file.stat()) for file in self.files or (self.path,)]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]

    @property
    def width(self) -> int:
        """Display pixels across."""
        return self.display.size[0]

    @property
    def height(self) -> int:
        """Display pixels down."""
        return self.display.size[1]

    @property
    def rotation(self) -> int:
        """Degrees clockwise that the stored picture is turned by when shown."""
        return self.display.rotation

    @property
    def aspect(self) -> Fraction:
        """Width by height of one stored sample."""
        return self.display.aspect


def footage_sha256(footage: Footage) -> str:
    """SHA-256 of the file's bytes; of several pictures, of their hashes in order, whatever the rate."""
    if not footage.files:
        return sha256(footage.path)
    return hashlib.sha256("".join(sha256(file) for file in footage.files).encode()).hexdigest()


def photo_hashes(footage: Footage) -> tuple[str, ...] | None:
    """SHA-256 of each photo, in order; None for other footage."""
    return tuple(sha256(file) for file in footage.files) if footage.kind == "photos" else None
