"""Inspecting files and folders to find and describe footage."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error as av_error
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from visagist.core.errors import FootageError
from visagist.core.text import printable
from visagist.core.types import StrPath
from visagist.media.decoded import describe, open_container, video_stream
from visagist.media.exr import exr_timecode
from visagist.media.footage import AudioTrack, Chapter, Footage
from visagist.media.frame import Frame
from visagist.media.picture_decoders import picture_decoder
from visagist.media.rate import DEFAULT_RATE, parse_rate
from visagist.media.sequence import group_pictures, is_pattern, pattern_files

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4",
     ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m", ".h264", ".hevc")
)  # fmt: skip
_PROBED_PACKETS = 600  # give up if these yield no frame


def probe(path: StrPath, *, rate: float | Fraction = DEFAULT_RATE) -> Footage:
    """Inspect a video, a picture, a folder of pictures, or a pattern such as `shot_%04d.png`.

    The pictures of a folder are an image sequence or photos, as decided by `media.sequence.group_pictures`. A pattern
    is always a sequence.

    Args:
        path: the file, folder or pattern.
        rate: frames per second of an image sequence, 1 to 240.

    Raises:
        ValueError: the rate is out of range.
        FootageError: it is missing, empty or unreadable, or a folder does not hold exactly one piece of footage.
    """
    path = Path(path)
    _check_name(path)
    if path.is_dir():
        found = group_pictures(path)
        if len(found.sequences) == 1:
            return _sequence(path, found.sequences[0], rate)
        if found.sequences or not found.photos or _videos(path):
            what = f"{len(found.sequences)} image sequences" if found.sequences else "no image sequence"
            raise FootageError(
                f"{path}: holds {what}; pass a file, a folder with one sequence, or a pattern such as shot_%04d.png"
            )
        return _photos(path, found.photos, found.reason)
    if is_pattern(path) and not path.is_file():  # a file may be named 50%done.mpg
        return _sequence(path, pattern_files(path), rate)
    if (decode := picture_decoder(path)) is not None:
        return _still(path, decode(path))
    with open_container(path) as container:
        stream = video_stream(container, path)
        # Demuxers of single pictures: image2, png_pipe, jpeg_pipe.
        is_still = container.format.name == "image2" or container.format.name.endswith("_pipe")
        audio, chapters = _audio(container), _chapters(container)
        others = tuple(s.type for s in container.streams if s.type in ("subtitle", "attachment"))
        timecode, stated = _timecode(container, stream), None if is_still else _stated_frames(stream)
        first = _first_frame(container, stream, path)
        seen = describe(first, stream, path, is_picture=is_still)
        time_base = stream.time_base or Fraction(1, 90000)
        rate_found = stream.average_rate or stream.guessed_rate
        if first.pts is None and rate_found:
            time_base = 1 / rate_found  # raw streams have no timestamps, so frames are counted
        pts = 0 if first.pts is None or is_still else first.pts
        duration = None
        if not is_still and stream.duration:
            duration = stream.duration * (stream.time_base or Fraction(0))
        elif not is_still and container.duration:
            duration = Fraction(container.duration, av.time_base)
        return Footage(
            path=path,
            kind="still" if is_still else "video",
            container=container.format.name,
            codec=stream.codec_context.name,
            pixel_format=seen.pixel_format,
            converted_from=seen.converted_from,
            display=seen.display,
            color=seen.color,
            siting=seen.siting,
            time_base=Fraction(1, 25) if is_still else Fraction(time_base),
            start=pts * Fraction(time_base),
            duration=duration,
            frames=1 if is_still else stated,
            rate=None if is_still else rate_found,
            interlaced=first.interlaced_frame or stream.codec_context.field_order > 1,
            stream=stream.index,
            origin=Fraction(0) if is_still else Fraction(container.start_time or 0, av.time_base),
            audio=audio,
            others=others,
            timecode=timecode,
            chapters=chapters,
        )


def probe_shot(path: StrPath, *, rate: float | Fraction = DEFAULT_RATE) -> Footage:
    """Like `probe`, but reject photos, since a shot needs consecutive frames of one size.

    Raises:
        ValueError: the rate is out of range.
        FootageError: it cannot be used as footage, or is a folder of photos.
    """
    footage = probe(path, rate=rate)
    if footage.kind == "photos":
        why = footage.reason or f"{footage.files[0].name} is not part of a numbered sequence"
        raise FootageError(
            f"{path}: holds photos rather than a shot ({why}); pass one of them, a video, or the pattern of an image "
            "sequence, such as shot_%04d.png"
        )
    return footage


def find_footage(path: StrPath, rate: float | Fraction = DEFAULT_RATE) -> list[Footage]:
    """Find all footage at a path, sorted by name: a single file, or the videos, sequences and photos of a folder.

    Args:
        path: a file, a pattern such as `shot_%04d.png`, or a folder.
        rate: frames per second of image sequences, as in `probe`.

    Raises:
        ValueError: the rate is out of range.
        FootageError: there is none, or a video or picture cannot be used.
    """
    path = Path(path)
    if not path.is_dir():
        return [probe(path, rate=rate)]
    pictures = group_pictures(path)
    found = [(files[0], _sequence(path, files, rate)) for files in pictures.sequences]
    found += [(file, probe(file)) for file in _videos(path)]
    if pictures.photos:
        found.append((pictures.photos[0], _photos(path, pictures.photos, pictures.reason)))
    if not found:
        raise FootageError(f"{path}: no footage in this folder; add videos, image sequences or pictures")
    return [footage for _, footage in sorted(found, key=lambda entry: entry[0].as_posix())]


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise FootageError(f"{printable(path)}: the name is not UTF-8; rename it") from error


def _videos(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES]
    return sorted(file for file in files if not file.name.startswith(".") and file.is_file())


def _photos(path: Path, files: tuple[Path, ...], reason: str | None) -> Footage:
    """A folder of photos; a single picture is a still."""
    first = probe(files[0])
    if len(files) == 1:
        return first
    return dataclasses.replace(
        first, path=path, kind="photos", time_base=Fraction(1), frames=len(files), files=files, reason=reason,
    )  # fmt: skip


def _still(path: Path, frame: Frame) -> Footage:
    """A picture that FFmpeg does not decode."""
    is_exr = path.suffix.lower() == ".exr"
    return Footage(
        path=path,
        kind="still",
        container="exr" if is_exr else "heif",
        codec="exr" if is_exr else "hevc",
        pixel_format=frame.format,
        converted_from=None,
        display=frame.display,
        color=frame.color,
        siting=frame.siting,
        time_base=Fraction(1, 25),
        start=Fraction(0),
        duration=None,
        frames=1,
        rate=None,
        interlaced=False,
        timecode=exr_timecode(path) if is_exr else None,
    )


def _sequence(path: Path, files: tuple[Path, ...], rate: float | Fraction) -> Footage:
    rate = parse_rate(rate)
    first = probe(files[0])
    return dataclasses.replace(
        first, path=path, kind="sequence", time_base=1 / rate, start=Fraction(0), duration=len(files) / rate,
        frames=len(files), rate=rate, files=files,
    )  # fmt: skip


def _first_frame(container: av.container.InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    read = 0
    try:
        for packet in container.demux(stream):
            read += 1
            if read > _PROBED_PACKETS:
                break
            try:
                frames = packet.decode()
            except av_error.FFmpegError:
                continue  # damaged at the start; a good frame may follow
            if frames:
                return frames[0]
    except av_error.FFmpegError as error:
        raise FootageError(f"{path}: no frame can be decoded ({error.strerror}); export or copy it again") from error
    raise FootageError(f"{path}: no frame can be decoded; export or copy it again")


def _stated_frames(stream: VideoStream) -> int | None:
    """Frames in the index that no edit list discards, or else in the header; Matroska's tags may be stale."""
    if stream.frames and len(stream.index_entries) >= stream.frames:
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames or None


def _audio(container: av.container.InputContainer) -> tuple[AudioTrack, ...]:
    return tuple(
        AudioTrack(
            s.index,
            s.codec_context.codec.canonical_name,
            s.codec_context.sample_rate,
            s.codec_context.channels,
            s.language,
        )
        for s in container.streams.audio
    )


def _chapters(container: av.container.InputContainer) -> tuple[Chapter, ...]:
    found = []
    for chapter in container.chapters():
        tick = chapter["time_base"] or Fraction(1, 1000)
        found.append(Chapter(chapter["start"] * tick, chapter["end"] * tick, chapter["metadata"].get("title", "")))
    return tuple(found)


def _timecode(container: av.container.InputContainer, stream: VideoStream) -> str | None:
    for metadata in (stream.metadata, *(other.metadata for other in container.streams), container.metadata):
        for name, code in metadata.items():
            if name.lower() == "timecode":
                return code
    return None
