"""Carrying the target's audio over to a render: copied if the container supports the codec, else re-encoded as AAC."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import av.error as av_error
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container.output import OutputContainer
from av.packet import Packet

from visagist.media.decoded import open_container
from visagist.media.footage import AudioTrack, Footage

_COPIED_CODECS = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "alac"},
    "mov": {"aac", "mp3", "ac3", "eac3", "alac"},  # and PCM
    "matroska": {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "vorbis", "flac", "dts", "truehd"},  # and PCM
}
_PCM = ("pcm_s16", "pcm_s24", "pcm_s32", "pcm_f32", "pcm_f64", "pcm_u8")
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)

Entry = tuple[Fraction, int, Packet]  # decoding time in seconds, tie-breaking order, packet


class Window(NamedTuple):
    """A half-open time range of an excerpt, in seconds on the target's clock."""

    start: Fraction
    end: Fraction


def is_copied(codec: str, form: str) -> bool:
    """Whether players support an audio codec in `mp4`, `mov` or `matroska`.

    >>> is_copied("aac", "mp4"), is_copied("mp2", "mp4"), is_copied("pcm_s16le", "mov"), is_copied("pcm_s16le", "mp4")
    (True, False, True, False)
    """
    return codec in _COPIED_CODECS[form] or (form != "mp4" and codec.startswith(_PCM))


def sound_tracks(
    out: OutputContainer, target: Footage, form: str, shift: Fraction, window: Window | None, notes: list[str]
) -> list[Iterator[Entry]]:
    """Add a stream to `out` for every audio track of the target, and append what changes to `notes`.

    Returns:
        The packets of each track in order, with timestamps reduced by `shift` seconds.
    """
    tracks = []
    for number, track in enumerate(target.audio):
        if is_copied(track.codec, form):
            tracks.append(_copied(out, target, track, number + 1, shift, window, form))
        elif track.channels == 0 or track.rate == 0:
            notes.append(f"audio track {number + 1} ({track.codec}) cannot be decoded and is dropped")
        else:
            notes.append(f"audio track {number + 1}: {track.codec} becomes AAC")
            tracks.append(_encoded(out, target, track, number + 1, shift, window))
    return tracks


def _copied(
    out: OutputContainer,
    target: Footage,
    track: AudioTrack,
    order: int,
    shift: Fraction,
    window: Window | None,
    form: str,
) -> Iterator[Entry]:
    container = open_container(target.path)
    source = container.streams[track.stream]
    assert isinstance(source, AudioStream)
    stream = out.add_stream_from_template(source, opaque=True)
    _label(stream, track)
    # Matroska has no edit lists, so players cannot trim a packet that starts before the excerpt.
    overlapping = form != "matroska"

    def packets() -> Iterator[Entry]:
        with container:
            demuxed = container.demux(source)
            while True:
                try:
                    packet = next(demuxed, None)
                except av_error.FFmpegError:
                    return  # a truncated file has truncated audio
                if packet is None:
                    return
                if packet.size == 0 or packet.is_corrupt or packet.pts is None:
                    continue
                tick = packet.time_base
                start, end = packet.pts * tick, (packet.pts + (packet.duration or 0)) * tick
                if window is not None:
                    if start >= window.end:
                        return
                    if (end <= window.start) if overlapping else (start < window.start):
                        continue
                moved = round(shift / tick)
                packet.pts -= moved
                packet.dts = packet.pts if packet.dts is None else packet.dts - moved
                packet.stream = stream
                yield packet.dts * tick, order, packet

    return packets()


def _encoded(
    out: OutputContainer, target: Footage, track: AudioTrack, order: int, shift: Fraction, window: Window | None
) -> Iterator[Entry]:
    container = open_container(target.path)
    source = container.streams[track.stream]
    assert isinstance(source, AudioStream)
    rate = track.rate if track.rate in _AAC_RATES else 48000
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(track.channels, "stereo")
    stream = out.add_stream("aac", rate=rate, layout=layout)
    assert isinstance(stream, AudioStream)
    stream.bit_rate = 96_000 * max(2, len(stream.layout.channels))
    stream.time_base = Fraction(1, rate)
    _label(stream, track)
    resampler = AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=1024)

    def frames() -> Iterator[av.AudioFrame]:
        with container:
            demuxed = container.demux(source)
            while True:
                try:
                    packet = next(demuxed, None)
                    if packet is None:
                        return
                    decoded = packet.decode()
                except av_error.InvalidDataError:
                    continue  # skip a damaged packet; timestamps keep the rest in sync
                except av_error.FFmpegError:
                    return
                for frame in decoded:
                    if frame.pts is None or frame.time_base is None:
                        continue
                    start = frame.pts * frame.time_base
                    if window is not None and start >= window.end:
                        return
                    if window is None or start + Fraction(frame.samples, frame.sample_rate) > window.start:
                        frame.pts -= round(shift / frame.time_base)
                        yield frame

    def packets() -> Iterator[Entry]:
        for frame in frames():
            for piece in resampler.resample(frame):
                yield from _entries(stream.encode(piece))
        for piece in resampler.resample(None):
            yield from _entries(stream.encode(piece))
        yield from _entries(stream.encode(None))

    def _entries(encoded: list[Packet]) -> Iterator[Entry]:
        for packet in encoded:
            time = packet.dts if packet.dts is not None else packet.pts
            yield (time or 0) * packet.time_base, order, packet

    return packets()


def _label(stream: AudioStream, track: AudioTrack) -> None:
    if track.language:
        stream.metadata["language"] = track.language
