"""Encoding chunks of a render atomically, in a background thread.

A chunk starts with a key frame and can be joined with others of the same target and options (see `join`).
"""

import queue
import threading
import zipfile
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error as av_error
from av.container.output import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from visagist.core.errors import OutputError
from visagist.core.files import atomic
from visagist.media.color import PRIMARIES, TRANSFERS
from visagist.media.encoded import video_frame
from visagist.media.exr import write_exr
from visagist.media.footage import Footage
from visagist.media.frame import Frame
from visagist.media.options import EncodeOptions, encoding_for

# NUT stores exact timestamps, but not ProRes.
_CONTAINERS = {
    "nut": ("nut", {"avoid_negative_ts": "disabled"}),
    "mov": ("mov", {"movflags": "use_metadata_tags"}),
}
_QUEUED_FRAMES = 6


class ChunkWriter:
    """Write consecutive frames of a target to one chunk, in a `with` block.

    >>> with ChunkWriter(Path("0000.nut"), target, EncodeOptions(codec="h264")) as writer:  # doctest: +SKIP
    ...     for frame in frames:
    ...         writer.write(frame)
    """

    def __init__(self, path: Path, target: Footage, options: EncodeOptions) -> None:
        """Prepare to write; the encoder starts with the first frame.

        Args:
            path: the chunk, by convention `.nut`.
            target: the footage that determines size, time base, colour and aspect.
            options: with a codec (see `EncodeOptions.resolved`).

        Raises:
            ConfigError: a setting does not apply to the codec.
        """
        self.path, self.target = path, target
        self.encoding = encoding_for(target, options)
        self.frames = 0
        self._queue: queue.Queue[Frame | None] = queue.Queue(_QUEUED_FRAMES)
        self._abandoned = threading.Event()
        self._error: BaseException | None = None
        self._stack = ExitStack()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        temporary = self._stack.enter_context(atomic(self.path))
        self._thread = threading.Thread(
            target=self._work, args=(temporary,), name=f"encode {self.path.name}", daemon=True
        )
        self._thread.start()
        return self

    def write(self, frame: Frame) -> None:
        """Queue the next frame.

        Raises:
            OutputError: encoding an earlier frame failed, or the time is not a multiple of the target's time base.
        """
        if (frame.time / self.target.time_base).denominator != 1:
            clock = f"{self.target.time_base} s"
            raise OutputError(
                f"{self.path}: frame {frame.index} at {frame.time} s does not match the target's time base of {clock}"
            )
        while self._error is None:
            try:
                self._queue.put(frame, timeout=0.1)
            except queue.Full:
                continue
            self.frames += 1
            return
        self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        if error is not None:
            self._abandoned.set()
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=0.1)
            except queue.Full:
                continue
            break
        self._thread.join()
        with self._stack:  # renames the file, or removes it after an error
            if error is not None:
                raise error
            self._raise()
            if self.frames == 0:
                raise OutputError(f"{self.path}: no frame was written")

    def _raise(self) -> None:
        error = self._error
        if isinstance(error, OSError):
            cause = error.strerror or str(error)
            raise OutputError(
                f"{self.path}: cannot be written ({cause}); free space or choose another place"
            ) from error
        if isinstance(error, av_error.FFmpegError):
            refused = f"{self.encoding.encoder} rejected {self.encoding.pixel_format}"
            raise OutputError(f"{self.path}: {refused} ({error.strerror}); choose another codec") from error
        if error is not None:
            raise error

    def _work(self, temporary: Path) -> None:
        try:
            first = self._queue.get()
            if first is None:
                return
            if self.encoding.encoder == "exr":
                self._write_exr(temporary, first)
                return
            form, settings = _CONTAINERS["mov" if self.encoding.encoder == "prores_ks" else "nut"]
            # Timestamps start at the first frame, whose time is in the metadata.
            with av.open(f"file:{temporary.as_posix()}", "w", format=form, container_options=settings) as out:
                out.metadata.update(visagist_origin=str(first.time), visagist_first=str(first.index))
                stream: VideoStream | None = None
                frame: Frame | None = first
                while frame is not None and not self._abandoned.is_set():
                    picture = video_frame(frame, self.encoding)
                    if stream is None:
                        stream = self._stream(out, picture)
                    self._stamp(picture, frame.time - first.time)
                    out.mux(stream.encode(picture))
                    frame = self._queue.get()
                if stream is not None and not self._abandoned.is_set():
                    out.mux(stream.encode(None))
        except BaseException as error:  # noqa: BLE001 - re-raised in the writing thread
            self._error = error

    def _write_exr(self, temporary: Path, first: Frame) -> None:
        """Write OpenEXR pictures to a ZIP archive, named by frame index."""
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as out:
            frame: Frame | None = first
            while frame is not None and not self._abandoned.is_set():
                file = self.target.files[frame.index] if self.target.files else self.target.path
                out.writestr(f"{frame.index}.exr", write_exr(frame, file))
                frame = self._queue.get()

    def _stream(self, out: OutputContainer, picture: VideoFrame) -> VideoStream:
        encoding, target = self.encoding, self.target
        stream = out.add_stream(encoding.encoder, rate=target.rate or 25, options=dict(encoding.settings))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = picture.width, picture.height, encoding.pixel_format
        context.time_base = target.time_base
        aspect = target.aspect if not (encoding.upright and target.display.turn[0] == 0) else 1 / target.aspect
        context.sample_aspect_ratio = Fraction(aspect)
        context.colorspace = encoding.color.matrix_tag
        context.color_range = 2 if encoding.color.range == "pc" else 1
        context.color_primaries = PRIMARIES[encoding.color.primaries]
        context.color_trc = TRANSFERS[encoding.color.transfer]
        return stream

    def _stamp(self, picture: VideoFrame, time: Fraction) -> None:
        color = self.encoding.color
        picture.time_base = self.target.time_base
        picture.pts = int(time / self.target.time_base)
        picture.colorspace = color.matrix_tag
        picture.color_range = 2 if color.range == "pc" else 1
        picture.color_primaries = PRIMARIES[color.primaries]
        picture.color_trc = TRANSFERS[color.transfer]
