"""Joining chunks into the finished render, with the target's audio, chapters and timecode.

Packets are copied without re-encoding, and presentation times stay those of the target, with two exceptions: excerpts
start at zero, and so do targets whose clock starts a second or more from zero (broadcast streams), because players
would show nothing until then.
"""

import heapq
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import av.error as av_error
from av.container.input import InputContainer
from av.container.output import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from visagist.core.errors import OutputError
from visagist.core.files import write_atomic
from visagist.media.footage import Footage
from visagist.media.options import EncodeOptions, encoding_for
from visagist.media.sound import Window, sound_tracks
from visagist.media.timecode import moved_timecode

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


@dataclass(frozen=True)
class JoinSummary:
    """A joined render."""

    path: Path
    frames: int
    files: tuple[Path, ...]  # the pictures of a sequence, or the single file
    notes: tuple[str, ...]  # differences from the target


class _Chunk(NamedTuple):
    path: Path
    first: int  # index of the first frame
    times: list[Fraction]  # presentation times in packet order, seconds on the target's clock
    extradata: bytes | None


def join(
    chunks: Sequence[Path],
    output: Path,
    target: Footage,
    options: EncodeOptions,
    *,
    frames: tuple[int, int] | None = None,
) -> JoinSummary:
    """Join chunks into one file or a folder of pictures, and add the target's audio.

    Args:
        chunks: in order, written with the same target and options.
        output: file to write (not atomically, so pass a temporary path), or a folder for PNG and OpenEXR.
        target: the rendered footage.
        options: with a codec (see `EncodeOptions.resolved`).
        frames: first and last index of an excerpt; None if the chunks cover the whole target.

    Raises:
        OutputError: the output cannot be written, or the chunks do not belong together.
    """
    if not chunks:
        raise OutputError(f"{output}: nothing to join, no chunk was written")
    notes = list(encoding_for(target, options).notes)
    if options.codec == "exr":
        return _exr_sequence(chunks, output, target, notes)
    read = [_read_chunk(path) for path in chunks]
    if any(chunk.extradata != read[0].extradata for chunk in read):
        raise OutputError(
            f"{output}: its chunks were encoded differently; delete {read[0].path.parent} and run the merge again"
        )
    times = sorted(time for chunk in read for time in chunk.times)
    if len(set(times)) != len(times):
        raise OutputError(f"{output}: its chunks overlap; delete {read[0].path.parent} and merge again")
    for kind in sorted(set(target.others)):
        notes.append(f"{target.others.count(kind)} {kind} track(s) of the target are dropped")
    try:
        if options.codec == "png":
            return _png_sequence(read, output, target, notes)
        return _video_file(read, times, output, target, notes, frames)
    except OSError as error:
        cause = error.strerror or str(error)
        raise OutputError(f"{output}: cannot be written ({cause}); free space or choose another place") from error
    except (av_error.FFmpegError, ValueError) as error:
        raise OutputError(f"{output}: the container rejected the render ({error}); choose .mov or .mkv") from error


def _read_chunk(path: Path) -> _Chunk:
    try:
        with av.open(f"file:{path.as_posix()}") as container:
            stream = container.streams.video[0]
            origin = Fraction(container.metadata["visagist_origin"])
            first = int(container.metadata["visagist_first"])
            times = [origin + time for time, _ in _packets(container, stream)]
            return _Chunk(path, first, times, stream.codec_context.extradata)
    except (OSError, av_error.FFmpegError, KeyError, IndexError) as error:
        raise OutputError(f"{path}: not a chunk of a render ({error}); delete it and merge again") from error


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Fraction, Packet]]:
    """Packets in stored order, with their presentation time in seconds."""
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            yield packet.pts * packet.time_base, packet


def _video_file(
    chunks: list[_Chunk],
    times: list[Fraction],
    output: Path,
    target: Footage,
    notes: list[str],
    frames: tuple[int, int] | None,
) -> JoinSummary:
    form = _CONTAINERS[output.suffix.lower()]
    shift = Fraction(0)
    if frames is not None or not 0 <= target.start < 1:
        shift = times[0]
        if frames is None:
            notes.append(f"the target starts at {float(shift):.3f} s, the render at zero")
    last = _last_duration(times, target)
    window = None if frames is None else Window(times[0], times[-1] + last)
    clock = target.time_base
    if form == "matroska" and any((time - shift) * 1000 % 1 for time in times):
        notes.append("Matroska stores milliseconds: presentation times are rounded")
    settings = {"avoid_negative_ts": "disabled"}
    if form != "matroska":
        # An edit list preserves a late start and the audio priming; it uses the video's clock to be exact.
        settings = {"movflags": "+faststart+write_colr", "use_editlist": "1"}
        settings["movie_timescale"] = str(clock.denominator if clock.denominator >= 1000 else clock.denominator * 1000)
    with (
        av.open(f"file:{output.as_posix()}", "w", format=form, container_options=settings) as out,
        av.open(f"file:{chunks[0].path.as_posix()}") as model,
    ):
        video = _video_stream(out, model.streams.video[0], target, clock, form)
        sound = sound_tracks(out, target, form, shift, window, notes)
        _chapters(out, target, shift, window)
        _timecode(video, target, chunks[0].first, form, notes)
        pictures = _video_packets(chunks, times, shift, last, clock, video)
        for _, _, packet in heapq.merge(pictures, *sound, key=lambda entry: entry[:2]):
            out.mux(packet)
    return JoinSummary(output, len(times), (output,), tuple(notes))


def _last_duration(times: list[Fraction], target: Footage) -> Fraction:
    """Duration of the last frame: as stated by the target, or that of the frame before."""
    before = times[-1] - times[-2] if len(times) > 1 else 1 / target.rate if target.rate else target.time_base
    if target.duration is not None and target.kind == "video":
        stated = target.start + target.duration - times[-1]
        if 0 < stated <= 2 * before:
            return stated
    return before


def _video_stream(out: OutputContainer, model: VideoStream, target: Footage, clock: Fraction, form: str) -> VideoStream:
    stream = out.add_stream_from_template(model)
    context = stream.codec_context
    context.sample_aspect_ratio = target.aspect
    if target.rate:
        context.framerate = target.rate
    context.time_base = clock
    stream.time_base = clock
    if model.codec_context.name == "hevc" and form != "matroska":
        context.codec_tag = "hvc1"  # the only H.265 tag that Apple's players accept
    a, b, c, d = target.display.turn
    if target.display.turn != (1, 0, 0, 1):
        unit = 1 << 16
        stream.set_display_matrix([a * unit, c * unit, 0, b * unit, d * unit, 0, 0, 0, 1 << 30])
    return stream


def _video_packets(
    chunks: list[_Chunk], times: list[Fraction], shift: Fraction, last: Fraction, clock: Fraction, stream: VideoStream
) -> Iterator[tuple[Fraction, int, Packet]]:
    """(decoding time in seconds, 0, packet), with decoding times that increase across chunks."""
    ticks = [int((time - shift) / clock) for time in times]
    rank = {time: number for number, time in enumerate(times)}
    order = [rank[time] for chunk in chunks for time in chunk.times]
    delay = max(number - place for number, place in enumerate(order))  # from decoding to presentation, in packets
    step = min((b - a for a, b in pairwise(ticks)), default=1)
    # Choose the duration of the last packet so that all durations, whose sum is the length in MP4, add up.
    end = ticks[-1] + int(last / clock)
    closing = end - ticks[len(ticks) - 1 - delay] - delay * step
    number = 0
    for chunk in chunks:
        with av.open(f"file:{chunk.path.as_posix()}") as container:
            for _, packet in _packets(container, container.streams.video[0]):
                place = order[number]
                early = number - delay
                packet.stream = stream
                packet.time_base = clock
                packet.pts = ticks[place]
                packet.dts = ticks[early] if early >= 0 else ticks[0] + early * step
                following = ticks[place + 1] if place + 1 < len(ticks) else end
                packet.duration = following - ticks[place] if number + 1 < len(ticks) else closing
                yield packet.dts * clock, 0, packet
                number += 1


def _chapters(out: OutputContainer, target: Footage, shift: Fraction, window: Window | None) -> None:
    kept = []
    for chapter in target.chapters:
        start = chapter.start if window is None else max(chapter.start, window.start)
        end = chapter.end if window is None else min(chapter.end, window.end)
        if start < end:
            span = (int((start - shift) * 1000), int((end - shift) * 1000))
            named = {"title": chapter.title} if chapter.title else {}
            kept.append(
                {
                    "id": len(kept) + 1,
                    "start": span[0],
                    "end": span[1],
                    "time_base": Fraction(1, 1000),
                    "metadata": named,
                }
            )
    if kept:
        out.set_chapters(kept)


def _timecode(stream: Stream, target: Footage, first: int, form: str, notes: list[str]) -> None:
    if target.timecode is None:
        return
    moved = moved_timecode(target.timecode, first, target.rate)
    if moved is None:
        rate = f"{float(target.rate):.3f}" if target.rate else "an unknown number of"
        notes.append(f"the timecode {target.timecode} is dropped: it does not fit {rate} frames per second")
    else:
        stream.metadata["timecode"] = moved


def _png_sequence(chunks: list[_Chunk], output: Path, target: Footage, notes: list[str]) -> JoinSummary:
    """Write every packet of the PNG chunks, which is a PNG file."""
    if target.audio:
        notes.append(f"{len(target.audio)} audio track(s) dropped: pictures cannot hold them")
    if target.chapters:
        notes.append(f"{len(target.chapters)} chapter(s) dropped: pictures cannot hold them")
    if target.timecode is not None:
        notes.append(f"the timecode {target.timecode} is dropped: PNG cannot hold it")
    _check_count(output, sum(len(chunk.times) for chunk in chunks))
    files = []
    for chunk in chunks:
        with av.open(f"file:{chunk.path.as_posix()}") as container:
            for number, (_, packet) in enumerate(_packets(container, container.streams.video[0]), chunk.first):
                file = _picture_file(output, target, number, ".png")
                write_atomic(file, bytes(packet), is_batch=True)
                files.append(file)
    return JoinSummary(output, len(files), tuple(files), tuple(notes))


def _exr_sequence(chunks: Sequence[Path], output: Path, target: Footage, notes: list[str]) -> JoinSummary:
    files = []
    for chunk in chunks:
        try:
            with zipfile.ZipFile(chunk) as archive:
                for name in archive.namelist():
                    file = _picture_file(output, target, int(Path(name).stem), ".exr")
                    write_atomic(file, archive.read(name), is_batch=True)
                    files.append(file)
        except (zipfile.BadZipFile, ValueError) as error:
            raise OutputError(f"{chunk}: not a chunk of a render ({error}); delete it and merge again") from error
        except OSError as error:
            cause = error.strerror or str(error)
            raise OutputError(f"{output}: cannot be written ({cause}); free space or choose another place") from error
    _check_count(output, len(files))
    return JoinSummary(output, len(files), tuple(files), tuple(notes))


def _check_count(output: Path, frames: int) -> None:
    if output.suffix and frames > 1:
        raise OutputError(f"{output}: {frames} frames do not fit into one picture; pass a folder")


def _picture_file(output: Path, target: Footage, number: int, suffix: str) -> Path:
    if output.suffix:
        return output
    is_named = target.kind == "sequence" and number < len(target.files)
    return output / f"{target.files[number].stem if is_named else f'{number:06d}'}{suffix}"
