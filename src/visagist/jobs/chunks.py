"""Rendering in chunks, so that an interrupted merge can continue.

A chunk ends at a fixed frame number. It counts once its note exists, a JSON file with its number of frames, its SHA-256
and its untouched frames; one that does not match its note is rendered again. Chunks are unsigned and therefore private
to the workspace; they are deleted once the signed render exists.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from visagist.core.errors import OutputError, ReadError
from visagist.core.events import EventCallback, Progress
from visagist.core.files import sha256, write_atomic
from visagist.core.read import read_json
from visagist.faces import Face
from visagist.jobs.matte import matte_name, write_matte
from visagist.media import ChunkWriter, EncodeOptions, Footage, Reader
from visagist.merging.options import MergeOptions
from visagist.merging.pipeline import Merged, Predictor, Untouched, merge_frames
from visagist.merging.visibility import RESTART_FRAMES

CHUNK_FRAMES = RESTART_FRAMES  # a multiple of the batch
MATTES = "mattes"  # folder beside the chunks


@dataclass(frozen=True)
class Chunks:
    """The finished chunks of a render."""

    first: int  # frame of the target
    last: int  # frame of the target, included
    files: list[Path]  # in order
    mattes: list[Path]  # one per frame; empty if not requested
    untouched: list[Untouched]


class Note(BaseModel):
    """The JSON file beside a chunk."""

    frames: int
    sha256: str
    untouched: tuple[Untouched, ...]


def note_of(chunk: Path) -> Note | None:
    """The note of a chunk; None if chunk or note are missing, damaged, or do not match."""
    try:
        note = Note.model_validate(read_json(chunk.with_suffix(".json")))
        return note if note.sha256 == sha256(chunk) else None
    except (ReadError, ValidationError, OSError):
        return None


@dataclass(frozen=True)
class ChunkRenderer:
    """Merges frames into chunks."""

    footage: Footage  # the target
    face_of: Callable[[int], Face | str]  # as in `merge_frames`
    predictor: Predictor | None  # None leaves all frames untouched
    options: MergeOptions
    encoding: EncodeOptions  # resolved for this target
    folder: Path  # of the chunks
    seek: bool  # as in `media.Reader`

    def render(self, first: int, last: int, events: EventCallback) -> Chunks:
        """Merge the frames from `first` to `last`, except those of existing chunks.

        Raises:
            FootageError: the target cannot be read.
            OutputError: the folder cannot be written.
        """
        bounds = _bounds(first, last)
        missing = [start for start, end in bounds if self._note(start, end) is None]
        done = sum(end - start + 1 for start, end in bounds if start not in missing)
        total = last - first + 1
        if done:
            events(Progress("merge", done, total))
        ends = dict(bounds)
        for start, end in _stretches(missing, ends):
            deinterlace = self.options.deinterlace
            with Reader(self.footage, first=start, last=end, deinterlace=deinterlace, seek=self.seek) as frames:
                merged = merge_frames(frames, self.face_of, self.predictor, self.options)
                chunk_start = start
                while chunk_start <= end:
                    for _ in self._write(merged, chunk_start, ends[chunk_start]):
                        done += 1
                        events(Progress("merge", done, total))
                    chunk_start = ends[chunk_start] + 1
        untouched: list[Untouched] = []
        for start, end in bounds:
            note = self._note(start, end)
            if note is None:
                raise OutputError(
                    f"{self._chunk(start)}: was changed or deleted while the merge was running; run it again"
                )
            untouched += note.untouched
        files = [self._chunk(start) for start, _ in bounds]
        with_matte = range(first, last + 1) if self.options.matte is not None else ()
        mattes = [self.folder / MATTES / matte_name(number) for number in with_matte]
        return Chunks(first, last, files, mattes, untouched)

    def _write(self, merged: Iterator[Merged], start: int, end: int) -> Iterator[int]:
        """Write one chunk; yields the index of each encoded frame."""
        path = self._chunk(start)
        untouched: list[dict[str, int | str]] = []
        with ChunkWriter(path, self.footage, self.encoding) as writer:
            for item in merged:
                writer.write(item.frame)
                if self.options.matte is not None:
                    write_matte(item, self.folder / MATTES)
                if item.untouched is not None:
                    untouched.append({"frame": item.frame.index, "reason": item.untouched})
                yield item.frame.index
                if item.frame.index == end:
                    break
        # After the chunk, whose hash it states.
        note = {"frames": end - start + 1, "sha256": sha256(path), "untouched": untouched}
        write_atomic(path.with_suffix(".json"), json.dumps(note))

    def _note(self, start: int, end: int) -> Note | None:
        """The note of a finished chunk; None if the chunk, its note or its mattes are missing or do not match."""
        note = note_of(self._chunk(start))
        mattes = range(start, end + 1) if self.options.matte is not None else ()
        is_whole = note is not None and note.frames == end - start + 1
        return note if is_whole and all((self.folder / MATTES / matte_name(i)).is_file() for i in mattes) else None

    def _chunk(self, start: int) -> Path:
        return self.folder / f"chunk-{start:08d}.nut"


def _bounds(first: int, last: int) -> list[tuple[int, int]]:
    """First and last frame of each chunk; boundaries are multiples of CHUNK_FRAMES, even in excerpts.

    >>> _bounds(100, 250)
    [(100, 127), (128, 250)]
    """
    starts = [first, *range((first // CHUNK_FRAMES + 1) * CHUNK_FRAMES, last + 1, CHUNK_FRAMES)]
    return [(start, min((start // CHUNK_FRAMES + 1) * CHUNK_FRAMES - 1, last)) for start in starts]


def _stretches(missing: list[int], ends: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Frame ranges of adjacent missing chunks, each of which needs one pass of the reader."""
    run: list[int] = []
    for start in missing:
        if run and start != ends[run[-1]] + 1:
            yield run[0], ends[run[-1]]
            run = []
        run.append(start)
    if run:
        yield run[0], ends[run[-1]]
