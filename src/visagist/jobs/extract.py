"""Extraction of a faceset from footage, in two passes: face tables, then crops.

Face tables are kept for the merge. Existing crops are complete and not written again; `extract.json` records what the
faceset was made from and whether it is complete.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import Timeout
from pydantic import Field, FiniteFloat

from visagist.core.errors import DamagedError, FacesetError, NoFaceError, SeveralError
from visagist.core.events import EventCallback, Note, Progress, Result, Warned, silent
from visagist.core.files import sweep, sync
from visagist.core.locks import lock
from visagist.core.options import combine
from visagist.core.settings import Settings, save_call, shown
from visagist.core.types import StrPath
from visagist.faces import (
    AnalyzeOptions,
    Face,
    FaceTable,
    analyze,
    choose_identity,
    cluster,
)
from visagist.faces.analyze import face_models
from visagist.faces.subject import SHEET_NAME, check_reference, is_contact_sheet
from visagist.faceset.crop import MAX_SIDE, crop_face
from visagist.faceset.extraction import Extraction, ExtractSummary, listed_reasons
from visagist.faceset.filter import filter_faces
from visagist.faceset.record import Record, write_crop
from visagist.faceset.store import Faceset
from visagist.jobs.parallel import run_together
from visagist.masks import face_classes, pack
from visagist.media import DEFAULT_RATE, Footage, Frame, FrameRate, Reader, find_footage, note_reading, photo_hashes
from visagist.zoo.sessions import model_sha256

STEP = "extract"
LOCK = ".extract.lock"
VERSION = 3
WORKERS = 2
WAITING = 8  # queued crops, each of which holds a frame


class ExtractOptions(Settings):
    """Which subject is extracted, and which crops are good enough."""

    group = "Choosing crops"

    identity: Annotated[int | None, shown("Choosing people", first=True)] = Field(default=None, ge=0)
    """Number of the subject, if FOOTAGE shows several people. Without a choice, the command writes `people.png` with
    their numbers."""

    reference: Annotated[Path | None, shown("Choosing people", first=True)] = None
    """A picture of the subject, instead of the number."""

    threshold: float = Field(default=0.6, ge=0.1, le=0.99)
    """Minimum score of the face detector. Lower it if faces are missed; raise it if other things are detected as
    faces."""

    every: Annotated[int, shown(first=True)] = Field(default=1, ge=1, le=10_000)
    """Use only every Nth frame, which saves time on long footage."""

    min_size: Annotated[FiniteFloat, shown(first=True, unit="px")] = Field(default=40.0, ge=0, le=10_000)
    """Minimum width of a face in the frame."""

    max_crop_size: Annotated[int, shown(unit="px")] = Field(default=MAX_SIDE, ge=128, le=MAX_SIDE)
    """Maximum side of a crop. Larger faces are scaled down to it; smaller ones keep their size."""

    min_score: FiniteFloat = Field(default=5.0, ge=-20, le=20)
    """Minimum presence score of the landmarks (a logit). Below it something covers the face. In frontal views, faces
    below 0.65 of the usual score are left out too."""

    min_sharpness: Annotated[float, shown(first=True)] = Field(default=0.4, ge=0, le=1)
    """Minimum sharpness of a face."""

    min_change: Annotated[float, shown(first=True, unit="of the distance between the pupils")] = Field(
        default=0.0015, ge=0, le=1
    )
    """Minimum difference from the faces before; 0 keeps duplicates."""

    format: Annotated[Literal["jpeg", "png"], shown(first=True)] = "jpeg"
    """File format of the crops."""

    masks: Annotated[Literal["segmentation", "hull"], shown(first=True)] = "segmentation"
    """Find hands, hair, glasses and background on each crop, so that they are not learnt as parts of the face; or take
    everything inside the hull of the landmarks for the face."""

    rate: Annotated[FrameRate, shown("Input footage", unit="frames per second")] = DEFAULT_RATE
    """Frame rate of image sequences, which state none: 24, 23.976, or a fraction such as 30000/1001."""

    deinterlace: Annotated[bool, shown("Input footage")] = False
    """Deinterlace interlaced footage."""

    allow_damaged: Annotated[bool, shown("Input footage")] = True
    """Use what can be decoded of damaged footage, instead of failing."""


def extract(
    footage: StrPath | Footage | Sequence[StrPath | Footage],
    output: StrPath,
    *,
    identity: int | None = None,
    reference: StrPath | None = None,
    options: ExtractOptions | None = None,
    on_event: EventCallback | None = None,
) -> Faceset:
    """Find one subject's face in footage and save it as crops at head coverage and native size.

    If interrupted, the same call continues; repeated, it returns at once.

    Args:
        footage: files, folders of videos, image sequences and photos, or the result of `probe`, which can set the
            frame rate of an image sequence.
        output: folder of the faceset.
        identity: number of the subject, if the footage shows several people.
        reference: a picture of the subject instead.
        options: thresholds, file format and everything else.
        on_event: callback receiving progress, notes and warnings.

    Returns:
        The faceset; `summary` holds the statistics.

    Raises:
        FootageError: footage cannot be used; DamagedError if frames are lost and `allow_damaged` is off.
        NoFaceError: the footage does not show the subject.
        SeveralError: the footage shows several people and none was chosen; see `people.png` in the faceset.
        FacesetError: the folder holds the footage itself or a faceset made from other footage or with other options,
            another process is extracting into it, or no crop is good enough.
        OutputError: the folder cannot be written.
        ConfigError: an option is given twice or not allowed.
    """
    options = combine(options, ExtractOptions, identity=identity, reference=reference)
    return extract_faceset(footage, Path(output), options, on_event or silent)


def extract_faceset(
    footage: StrPath | Footage | Sequence[StrPath | Footage],
    output: Path,
    options: ExtractOptions,
    events: EventCallback,
    tables: Path | None = None,
) -> Faceset:
    """`extract` with the folder of face tables as an argument; by default, they are in the faceset."""
    clips = _clips(footage, options, events)
    check_reference(options.reference, options.identity)
    for clip in clips:
        if output.resolve() in (clip.path.resolve(), *clip.path.resolve().parents):
            raise FacesetError(f"{output}: holds the footage {clip.path.name}; extract into another folder")
    try:
        alone = lock(output / LOCK, wait=False)
    except Timeout as error:
        raise FacesetError(f"{output}: another extraction is writing to this folder; wait for it to finish") from error
    with alone:
        sweep(output)
        return Faceset.open(output, _extract(clips, output, options, events, tables))


def _extract(
    clips: list[Footage], faceset: Path, options: ExtractOptions, events: EventCallback, tables: Path | None
) -> dict[str, Record]:
    """Write tables and crops; returns the records of newly written crops by file name."""
    folder = tables or faceset / "tables"
    found = _analyzed(clips, folder, options, events)
    labels = cluster(found)
    found = [table.with_identities(own) for table, own in zip(found, labels, strict=True)]
    shown = clips[0].path if len(clips) == 1 else clips[0].path.parent
    try:
        identity = choose_identity(found, options.reference, options.identity, faceset)
    except SeveralError as error:
        raise SeveralError(f"{shown}: {error}") from error
    except NoFaceError as error:
        raise NoFaceError(f"{shown}: {error}") from error
    if is_contact_sheet(faceset / SHEET_NAME):
        (faceset / SHEET_NAME).unlink()  # written by an earlier call without a choice
    photos = [photo_hashes(clip) for clip in clips]
    key = _key(clips, found, photos, identity, options)
    if _is_complete(faceset, key):
        return {}
    left_out: dict[str, int] = {}
    chosen: list[list[Face]] = []
    faces = others = 0
    for table in found:
        mine = [face for face in table if face.identity == identity]
        kept, dropped = filter_faces(
            mine,
            min_size=options.min_size,
            min_score=options.min_score,
            min_sharpness=options.min_sharpness,
            min_change=options.min_change,
        )
        chosen.append(kept)
        faces, others = faces + len(mine), others + len(table) - len(mine)
        left_out = {reason: left_out.get(reason, 0) + count for reason, count in dropped.items()}
    total = sum(len(kept) for kept in chosen)
    if total == 0:
        raise FacesetError(
            f"{shown}: none of {faces} faces is good enough ({listed_reasons(left_out)}); give better footage, or "
            "lower the thresholds of `visagist extract`"
        )
    # Only now that crops will be written: a refused call must not block a call with other thresholds.
    given = [str(clip.path.absolute()) for clip in clips]
    save_call(faceset / "extract.toml", {"footage": given, "output": faceset, **options.model_dump()})
    Extraction(key, None).save(faceset)
    jobs = [
        partial(_crop, clip, table, hashes, kept, faceset, options)
        for clip, table, hashes, kept in zip(clips, found, photos, chosen, strict=True)
    ]
    written = run_together(jobs, [len(kept) for kept in chosen], events)
    sync(faceset)
    if any(left_out.values()):
        events(Note(STEP, f"left out: {listed_reasons(left_out)}"))
    frames = sum(table.frames for table in found)
    Extraction(key, ExtractSummary(total, frames, faces, identity, left_out, others)).save(faceset)
    events(Result(STEP, faceset))
    return {name: record for each in written for name, record in each.items()}


def _clips(
    footage: StrPath | Footage | Sequence[StrPath | Footage], options: ExtractOptions, events: EventCallback
) -> list[Footage]:
    given = [footage] if isinstance(footage, str | os.PathLike | Footage) else footage
    clips: list[Footage] = []
    for entry in given:
        if isinstance(entry, Footage):
            clips.append(entry)
        else:
            found = find_footage(entry, options.rate)
            note_reading(found, STEP, events)
            clips.extend(found)
    return clips


def _analyzed(
    clips: Sequence[Footage], folder: Path, options: ExtractOptions, events: EventCallback
) -> list[FaceTable]:
    """A face table for each clip; clips with the same file name are numbered."""
    names: dict[str, int] = {}
    jobs: list[Callable[[EventCallback], FaceTable]] = []
    for clip in clips:
        count = names[clip.path.name] = names.get(clip.path.name, 0) + 1
        name = clip.path.name if count == 1 else f"{clip.path.name}.{count}"
        jobs.append(partial(_analyze, clip, folder / f"{name}.parquet", options))
    found = run_together(jobs, [clip.frames for clip in clips], events)
    for clip, table in zip(clips, found, strict=True):
        if table.lost and not options.allow_damaged:
            raise DamagedError(
                f"{clip.path}: damaged ({table.lost} frames cannot be decoded); --allow-damaged continues"
            )
        if table.lost:
            events(Warned(STEP, f"{clip.path}: damaged, {table.lost} frames are lost"))
    return found


def _analyze(clip: Footage, table: Path, options: ExtractOptions, events: EventCallback) -> FaceTable:
    search = AnalyzeOptions(threshold=options.threshold, every=options.every, deinterlace=options.deinterlace)
    return analyze(clip, table, options=search, on_event=events)


def _key(
    clips: Sequence[Footage],
    found: Sequence[FaceTable],
    photos: Sequence[tuple[str, ...] | None],
    identity: int,
    options: ExtractOptions,
) -> dict[str, Any]:
    """Everything that determines the crops, except how the subject was chosen."""
    kept = options.model_dump(mode="json", exclude={"reference", "identity", "rate", "allow_damaged"})
    rates = [str(clip.rate) for clip in clips if clip.kind == "sequence"]  # the option affects no other footage
    return {
        "version": VERSION,
        "footage": [
            digest for table, hashes in zip(found, photos, strict=True) for digest in hashes or (table.footage_sha256,)
        ],
        "models": face_models() | ({"segmenter": model_sha256("segmenter")} if options.masks == "segmentation" else {}),
        "options": {
            "--identity": identity,
            **{f"--{name.replace('_', '-')}": value for name, value in kept.items()},
            "--rate": ", ".join(rates) or None,
        },
    }


def _is_complete(faceset: Path, key: dict[str, Any]) -> bool:
    """Whether the faceset is the finished result of a call with this key."""
    known = Extraction.load(faceset)
    if known is None:
        return False
    what = _other(known.key, key)
    if what is not None:
        raise FacesetError(f"{faceset}: contains a faceset made {what}; delete it or choose another folder")
    return known.summary is not None


def _other(known: dict[str, Any], key: dict[str, Any]) -> str | None:
    """How the existing faceset differs from the requested one; None if it does not."""
    if known.get("version") != VERSION:
        return "by another version of visagist"
    for part, name in (("footage", "footage"), ("models", "face models")):
        if known.get(part) != key[part]:
            return f"with other {name}"
    before, now = known["options"], key["options"]
    changed = [f"{name} was {before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]
    return f"with other options ({', '.join(changed)})" if changed else None


def _crop(
    clip: Footage,
    table: FaceTable,
    photos: tuple[str, ...] | None,
    faces: Sequence[Face],
    faceset: Path,
    options: ExtractOptions,
    events: EventCallback,
) -> dict[str, Record]:
    """Write the missing crops of one clip or folder of `photos` (their hashes); returns their records by file name."""
    digest, lost = table.footage_sha256, table.lost
    suffix = ".png" if options.format == "png" else ".jpg"
    missing: dict[int, list[tuple[Face, Path]]] = {}
    for face in faces:
        path = faceset / f"{digest[:10]}_{face.frame:07d}_{face.track:03d}{suffix}"
        if not path.is_file():
            missing.setdefault(face.frame, []).append((face, path))
    done = len(faces) - sum(len(entries) for entries in missing.values())
    events(Progress(STEP, done, len(faces), "crops"))
    written: dict[str, Record] = {}
    if not missing:
        return written
    waiting: deque[Future[tuple[str, Record]]] = deque()
    with (
        # If frames are lost, only sequential reading numbers frames as in the table.
        Reader(clip, first=min(missing), last=max(missing), deinterlace=options.deinterlace, seek=not lost) as reader,
        ThreadPoolExecutor(WORKERS, "crops") as pool,
    ):
        for frame in reader:
            for face, path in missing.get(frame.index, []):
                known_by = photos[face.frame] if photos else digest
                waiting.append(pool.submit(_write, frame, face, known_by, path, options))
            while len(waiting) > WAITING:
                written.update([waiting.popleft().result()])
                done += 1
                if done % 10 == 0:
                    events(Progress(STEP, done, len(faces), "crops"))
        for future in waiting:
            written.update([future.result()])
    events(Progress(STEP, len(faces), len(faces), "crops"))
    return written


def _write(frame: Frame, face: Face, digest: str, path: Path, options: ExtractOptions) -> tuple[str, Record]:
    pixels, matrix = crop_face(frame, face, options.max_crop_size)
    mask = pack(face_classes(frame, face.alignment)) if options.masks == "segmentation" else None
    record = Record.of(face, digest, matrix, len(pixels), mask)
    write_crop(path, pixels, record)
    return path.name, record
