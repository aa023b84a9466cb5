"""A render in pieces that survive a crash.

- `render_chunks`: the target's frames, merged and encoded in closed chunks that end at fixed frame numbers
Each chunk is one file that exists only when it is whole, with a small JSON file on what was left untouched in it, and
the mattes of its frames where they are wanted.
Chunks are private to the workspace: they are not signed, and they are deleted when the signed render stands.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from visagist.core.events import Events, Progress
from visagist.core.files import write_atomic
from visagist.faces import Face
from visagist.jobs.matte import matte_name, write_matte
from visagist.media import ChunkWriter, EncodeOptions, Footage, Reader
from visagist.merging.options import MergeOptions
from visagist.merging.pipeline import BATCH, Merged, Predictor, Untouched, merge_frames

CHUNK_FRAMES = 8 * BATCH
MATTES = "mattes"  # folder beside the chunks


def render_chunks(
    footage: Footage,
    first: int,
    last: int,
    face_of: Callable[[int], Face | str],
    predictor: Predictor | None,
    folder: Path,
    options: MergeOptions,
    encoding: EncodeOptions,
    events: Events,
    *,
    seek: bool,
) -> tuple[list[Path], list[Path], list[Untouched]]:
    """Merge frames `first` to `last` (both included) into chunks in `folder`; those that are there are kept.

    Args:
        footage: the target.
        first: its first frame to render.
        last: its last one; the footage must have it.
        face_of: the performer's face in a frame, or the reason why there is none.
        predictor: the trained network, None where nobody is changed.
        folder: of the chunks.
        options: how the face goes in.
        encoding: resolved for this target.
        events: told progress.
        seek: as in `media.Reader`.

    Returns:
        The chunks in order, the mattes (none where they are not wanted), and the frames that went through as they were.

    Raises:
        FootageError: the target cannot be read.
        OutputError: the folder cannot be written.
    """
    bounds = _bounds(first, last)
    missing = [start for start, _ in bounds if not _chunk(folder, start).exists()]
    done = sum(end - start + 1 for start, end in bounds if start not in missing)
    total = last - first + 1
    if done:
        events(Progress("merge", done, total))
    ends = dict(bounds)
    for start, end in _stretches(missing, ends):
        with Reader(footage, first=start, last=end, deinterlace=options.deinterlace, seek=seek) as frames:
            merged = merge_frames(frames, face_of, predictor, options)
            chunk_start = start
            while chunk_start <= end:
                chunk_end = ends[chunk_start]
                for _ in _write(merged, chunk_start, chunk_end, footage, folder, options, encoding):
                    done += 1
                    events(Progress("merge", done, total))
                chunk_start = chunk_end + 1
    chunks = [_chunk(folder, start) for start, _ in bounds]
    untouched = [
        Untouched(entry["frame"], entry["reason"])
        for path in chunks
        for entry in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    ]
    wanted = range(first, last + 1) if options.matte is not None else ()
    return chunks, [folder / MATTES / matte_name(number) for number in wanted], untouched


def _bounds(first: int, last: int) -> list[tuple[int, int]]:
    """First and last frame of each chunk; boundaries are multiples of CHUNK_FRAMES whatever the excerpt.

    >>> _bounds(100, 250)
    [(100, 127), (128, 250)]
    """
    starts = [first, *range((first // CHUNK_FRAMES + 1) * CHUNK_FRAMES, last + 1, CHUNK_FRAMES)]
    return [(start, min((start // CHUNK_FRAMES + 1) * CHUNK_FRAMES - 1, last)) for start in starts]


def _stretches(missing: list[int], ends: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Runs of adjacent missing chunks, so that each is one pass of the reader."""
    run: list[int] = []
    for start in missing:
        if run and start != ends[run[-1]] + 1:
            yield run[0], ends[run[-1]]
            run = []
        run.append(start)
    if run:
        yield run[0], ends[run[-1]]


def _chunk(folder: Path, start: int) -> Path:
    return folder / f"chunk-{start:08d}.nut"


def _write(
    merged: Iterator[Merged],
    start: int,
    end: int,
    footage: Footage,
    folder: Path,
    options: MergeOptions,
    encoding: EncodeOptions,
) -> Iterator[int]:
    """Write one chunk; yields the number of each frame that was handed to the encoder."""
    path = _chunk(folder, start)
    untouched: list[dict[str, int | str]] = []
    with ChunkWriter(path, footage, encoding) as writer:
        for item in merged:
            writer.write(item.frame)
            if options.matte is not None:
                write_matte(item, folder / MATTES)
            if item.untouched is not None:
                untouched.append({"frame": item.frame.index, "reason": item.untouched})
            yield item.frame.index
            if item.frame.index == end:
                break
        # Before the chunk itself: a chunk that exists always has its list, and its mattes.
        write_atomic(path.with_suffix(".json"), json.dumps(untouched))
