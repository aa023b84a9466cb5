"""Reading frames in presentation order, decoded in a background thread.

A damaged video yields its good frames, with one warning that gives the number of lost frames if it is known.
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.container
import av.error as av_error
import av.filter
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from visagist.core.errors import FootageError, InterlacedError
from visagist.core.events import EventCallback, Note, Warned, silent
from visagist.core.types import StrPath
from visagist.media.decoded import frame_of, open_container
from visagist.media.footage import Footage
from visagist.media.frame import Frame
from visagist.media.picture_decoders import picture_decoder
from visagist.media.probe import probe

_READ_AHEAD = 6  # frames
_MIN_SEEK = 30  # frames; skipping fewer is faster by decoding than by scanning packets
_SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "nut")  # formats with exact timestamps on every packet


class Reader:
    """Iterate over the frames of footage, in a `with` block.

    >>> with Reader("shot.mov", first=100, last=199) as reader:  # doctest: +SKIP
    ...     for frame in reader:
    ...         print(frame.index, frame.time)
    """

    def __init__(
        self,
        source: StrPath | Footage,
        *,
        deinterlace: bool = False,
        first: int = 0,
        last: int | None = None,
        seek: bool = True,
        on_event: EventCallback | None = None,
    ) -> None:
        """Prepare to read; the file is opened on entering the `with` block.

        Args:
            source: a path, or the result of `probe`.
            deinterlace: deinterlace with FFmpeg's bwdif, one frame per two fields.
            first: index of the first frame to yield.
            last: index of the last frame to yield, inclusive; None for the end.
            seek: seek to `first` if the format allows. False decodes from the start, so that frame indices in damaged
                footage equal those of an uninterrupted reading.
            on_event: callback receiving notes and warnings.

        Raises:
            FootageError: the file cannot be used.
            InterlacedError: it is interlaced and `deinterlace` is False.
        """
        self.footage = source if isinstance(source, Footage) else probe(source)
        if self.footage.interlaced and not deinterlace:
            raise _interlaced(self.footage.path)
        # Both are valid after the last frame.
        self.lost: int | None = None  # stated frames that were not decoded, or a lower bound; None if unknown
        self.damaged = False  # whether anything could not be decoded
        self._deinterlace = deinterlace
        self._first, self._last, self._seek, self._events = first, last, seek, on_event or silent
        self._queue: queue.Queue[Frame | BaseException | None] = queue.Queue(_READ_AHEAD)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._bad = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, name=f"decode {self.footage.path.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def __iter__(self) -> Iterator[Frame]:
        if self._thread is None:
            raise RuntimeError("use Reader in a `with` block")
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                self._queue.put(None)  # a second loop ends at once
                raise item
            yield item
        self._queue.put(None)

    def _work(self) -> None:
        """Decoding thread: queue the frames, then None or the error that ended it."""
        end: BaseException | None = None
        try:
            for frame in self._frames():
                if not self._put(frame):
                    return
            self._count_losses()
        except BaseException as error:  # noqa: BLE001 - re-raised in the reading thread
            end = error
        self._put(end)

    def _put(self, item: Frame | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _frames(self) -> Iterator[Frame]:
        self._given = self._first
        if self.footage.converted_from:
            formats = f"{self.footage.converted_from} is read as {self.footage.pixel_format}"
            self._events(Note("read", f"{self.footage.path.name}: {formats}"))
        if self.footage.color.assumed:
            color = self.footage.color
            self._events(Note("read", f"{self.footage.path.name}: no colour matrix declared, assuming {color.matrix}"))
        is_video = not self.footage.files and picture_decoder(self.footage.path) is None
        frames = self._video() if is_video else self._pictures()
        for frame in frames:
            self._given = frame.index + 1
            yield frame
            if self._last is not None and frame.index >= self._last:
                self._given = None
                return
        if self._given == 0:
            raise FootageError(f"{self.footage.path}: no frame can be decoded; export or copy it again")

    def _count_losses(self) -> None:
        """Count lost frames once the end is reached."""
        stated = self.footage.frames
        self.damaged = self._bad > 0
        if self._given is None or stated is None:
            # The total is unknown: the number of decoding errors is a lower bound.
            self.lost = self._bad if self.damaged else 0 if self._given is None else None
        else:
            self.lost = max(0, stated - self._given)
            self.damaged = self.damaged or self.lost > 0
        if self.damaged:
            is_counted = self._given is not None and stated is not None
            count = f"{self.lost} of {stated} frames" if is_counted else "some frames"
            self._events(Warned("read", f"{self.footage.path}: damaged, {count} cannot be decoded"))

    def _pictures(self) -> Iterator[Frame]:
        footage = self.footage
        files, step = footage.files or (footage.path,), 1 / footage.rate if footage.rate else Fraction(1)
        for index in range(self._first, len(files)):
            file = files[index]
            picture = probe(file) if footage.kind == "photos" else footage
            if (decode := picture_decoder(file)) is not None:
                frame = replace(decode(file), index=index, time=index * step)
                if (frame.display, frame.format) != (picture.display, picture.pixel_format):
                    found = f"{frame.width}x{frame.height} {frame.format}"
                    wanted = f"{picture.width}x{picture.height} {picture.pixel_format}"
                    raise FootageError(f"{file}: is {found}, unlike the first picture of its sequence ({wanted})")
                yield frame
                continue
            with open_container(file) as container:
                decoded = next(self._decoded(container, container.streams.video[0]), None)
            if decoded is None:
                raise FootageError(f"{file}: cannot be decoded; export or copy it again")
            try:
                yield frame_of(decoded, picture, index, index * step)
            except FootageError as error:
                raise FootageError(f"{file}: differs from the first picture of its sequence ({error})") from error

    def _video(self) -> Iterator[Frame]:
        footage = self.footage
        if self._seek and self._first >= _MIN_SEEK and footage.container in _SEEKABLE and not self._deinterlace:
            with self._open() as container:
                stream = _stream(container, footage)
                if (wanted := _seek(container, stream, self._first)) is not None:
                    landed = self._decoded(container, stream)
                    decoded = next((f for f in landed if f.pts is not None and f.pts >= wanted), None)
                    if decoded is not None and decoded.pts == wanted:
                        yield from self._timed(decoded, landed, self._first)
                        return
            self._bad = 0
        with self._open() as container:
            every = self._decoded(container, _stream(container, footage))
            first = next(every, None)
            if first is not None:
                yield from self._timed(first, every, 0)

    def _open(self) -> av.container.InputContainer:
        container = open_container(self.footage.path)
        _stream(container, self.footage).thread_type = "AUTO"
        return container

    def _timed(self, first: VideoFrame, rest: Iterator[VideoFrame], index: int) -> Iterator[Frame]:
        """Frames from `self._first` on, with timestamps made strictly increasing."""
        footage = self.footage
        before: Fraction | None = None
        step = 1 / footage.rate if footage.rate else footage.time_base
        decoded: VideoFrame | None = first
        while decoded is not None:
            if footage.kind == "still":
                time = Fraction(0)
            elif decoded.pts is None or decoded.time_base is None:
                time = footage.start if before is None else before + step
            else:
                time = decoded.pts * decoded.time_base
            if before is not None and time <= before:
                time = before + footage.time_base
            before = time
            if index >= self._first:
                yield frame_of(decoded, footage, index, time)
            index += 1
            decoded = next(rest, None)

    def _decoded(self, container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Decodable frames in presentation order; errors are counted."""
        graph = _deinterlacer(stream, whole=self.footage.interlaced) if self._deinterlace else None
        packets = container.demux(stream)
        while not self._stop.is_set():
            try:
                packet = next(packets, None)
            except av_error.FFmpegError:
                self._bad += 1  # truncated within a packet, or unreadable from here
                return
            if packet is None:
                break
            if packet.is_corrupt:
                self._bad += 1
                continue
            try:
                frames = packet.decode()
            except av_error.EOFError:
                break
            except av_error.FFmpegError:
                self._bad += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._bad += 1
                elif graph is not None:
                    graph.push(frame)
                    yield from _filtered(graph)
                elif frame.interlaced_frame:
                    raise _interlaced(self.footage.path)
                else:
                    yield frame
        if graph is not None:
            graph.push(None)
            yield from _filtered(graph)


def read_frames(
    footage: Footage, indices: Iterable[int], *, deinterlace: bool = False, seek: bool = True
) -> Iterator[Frame]:
    """The frames with these indices, in order; indices beyond the end are left out.

    Args:
        footage: the result of `probe`.
        indices: of frames, counted from 0.
        deinterlace: as in `Reader`.
        seek: as in `Reader`. Where seeking is not possible, the footage is read once, from the first to the last.
    """
    wanted = sorted(set(indices))
    jumps = seek and not deinterlace and (footage.files or footage.container in _SEEKABLE)
    spans = [(index, index) for index in wanted] if jumps else [(wanted[0], wanted[-1])] if wanted else []
    for first, last in spans:
        with Reader(footage, first=first, last=last, deinterlace=deinterlace, seek=seek) as frames:
            for frame in frames:
                if frame.index in wanted:
                    yield frame


def _interlaced(path: Path) -> InterlacedError:
    return InterlacedError(f"{path}: interlaced footage; deinterlace it (--deinterlace)")


def _stream(container: av.container.InputContainer, footage: Footage) -> VideoStream:
    stream = container.streams[footage.stream]
    assert isinstance(stream, VideoStream)
    return stream


def _deinterlacer(stream: VideoStream, *, whole: bool) -> av.filter.Graph:
    """A bwdif filter graph for all frames, or only for those flagged as interlaced."""
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream)
    bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={'all' if whole else 'interlaced'}")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _filtered(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av_error.BlockingIOError, av_error.EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame


def _seek(container: av.container.InputContainer, stream: VideoStream, first: int) -> int | None:
    """Seek to the last key frame at or before frame `first`.

    Returns:
        The timestamp of frame `first`, or None if it can only be found by decoding from the start.
    """
    times, keys = [], []
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                if packet.pts is None or packet.is_corrupt:
                    return None
                times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
    except av_error.FFmpegError:
        return None
    times.sort()
    if first >= len(times) or len(set(times)) != len(times):
        return None
    wanted = times[first]
    key = max((key for key in keys if key <= wanted), default=None)
    if key is None:
        return None
    container.seek(key, stream=stream, backward=True)
    return wanted
