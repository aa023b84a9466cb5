"""Footage to a table of its faces.

- `analyze`: every frame of footage, into a Parquet file; stops and goes on
- `known_table`: what `analyze` wrote earlier, if that is what it would write now
- `face_models`: with which models
- `describe`: the faces of one frame or picture
- `picture_embeddings`: the embeddings of the faces of a picture file

While the faces of one frame are followed, a second thread describes those of the frames before (pose, blendshapes,
sharpness, embedding) and a third decodes the frames to come. Every `PART` frames a part is written, with all that
the tracker knows; the parts become the table at the end.
"""

import io
import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pydantic import Field, FiniteFloat

from visagist.core.errors import FootageError
from visagist.core.events import EventCallback, Progress, silent
from visagist.core.settings import Settings
from visagist.core.types import StrPath
from visagist.faces.align import align
from visagist.faces.clusters import cluster, split_changed
from visagist.faces.detection import DETECTION_SIZE, Detection, detect_faces
from visagist.faces.identity import embed, sharpness
from visagist.faces.landmarks import CLEAR, Mesh, find_best_landmarks
from visagist.faces.pose import blendshapes, head_pose
from visagist.faces.smoothing import smooth_alignments
from visagist.faces.table import Face, FaceTable, read_faces, write_faces
from visagist.faces.tracking import START, Sighting, Tracker, TrackerState
from visagist.media import Footage, Frame, Reader, footage_sha256, frame_from_rgb, probe, read_picture
from visagist.zoo.sessions import model_sha256

PART = 125  # frames between parts: what a kill can cost
WAITING = 24  # faces waiting to be described, at most
BRIEF = 3  # frames; a track as short as that must be sure of its face
FACE = slice(32, 224)  # the face's part of the mesh crop
MODELS = ("yunet", "facemesh", "blendshapes", "sface")  # that decide what a table holds


class AnalyzeOptions(Settings):
    """How footage is searched for faces."""

    threshold: float = Field(default=0.6, ge=0, le=1)  # least score of a detection, 0..1
    min_size: FiniteFloat = Field(default=24.0, ge=0)  # px, least longer side of a face
    every: int = Field(default=1, ge=1)  # analyse only every Nth frame, the first included
    deinterlace: bool = False


def analyze(
    footage: StrPath | Footage,
    table: StrPath,
    *,
    options: AnalyzeOptions | None = None,
    on_event: EventCallback | None = None,
) -> FaceTable:
    """Find, track and describe every face in footage.

    Args:
        footage: a file, folder or pattern, or the result of `probe`.
        table: the Parquet file to write. One that was made from the same footage with the same options and models is
            read instead; one that was interrupted is continued.
        options: thresholds.
        on_event: callback receiving progress.

    Raises:
        FootageError: the footage cannot be used.
        OutputError: the table cannot be written.
    """
    table, options, events = Path(table), options or AnalyzeOptions(), on_event or silent
    footage = footage if isinstance(footage, Footage) else probe(footage)
    done = known_table(footage, table, options)
    if done is not None:
        events(Progress("analyze", done.frames, done.frames))
        return done
    key = _key(footage, options)
    parts = table.with_name(f".{table.stem}.parts")
    faces, state, frames = _resume(parts, key)
    faces, frames, lost = _look_through(footage, parts, key, options, faces, state, frames, events)
    metadata = {**key, "frames": frames, "width": footage.width, "height": footage.height, "lost": lost}
    result = _finished(faces, metadata, options.every, are_photos=footage.kind == "photos")
    result.save(table)
    shutil.rmtree(parts, ignore_errors=True)
    for torn in table.parent.glob(f".{table.stem}.*.part.*"):
        torn.unlink()  # of a call that was killed
    return result


def known_table(footage: Footage, table: Path, options: AnalyzeOptions) -> FaceTable | None:
    """The table that `analyze` made from the same footage with the same options and models, None if there is none."""
    if not table.is_file():
        return None
    try:
        found = FaceTable.load(table)
    except FootageError:
        return None  # torn or of another version
    return found if _key(footage, options).items() <= found.metadata.items() else None


def _key(footage: Footage, options: AnalyzeOptions) -> dict[str, Any]:
    """All that decides what a table holds, as its metadata have it."""
    key = {
        **({"photos": True} if footage.kind == "photos" else {}),
        "footage_sha256": footage_sha256(footage),
        "options": options.model_dump(mode="json"),
        "models": face_models(),
    }
    # The times of all frames, and by them the smoothing, which the pictures of a sequence do not tell.
    return {**key, "rate": str(footage.rate)} if footage.kind == "sequence" else key


def face_models() -> dict[str, str]:
    """SHA-256 by name of the models that look at footage, the user's own in their place."""
    return {name: model_sha256(name) for name in MODELS}


def describe(frame: Frame, options: AnalyzeOptions | None = None) -> list[Face]:
    """The faces of one frame or picture (`frame_from_rgb` makes a frame of a picture), the surest first.

    Looks at all quarter turns if nothing is found upright. Track and identity are -1, alignments unsmoothed, and each
    face has an embedding.
    """
    options = options or AnalyzeOptions()
    thumbnail, scale = frame.thumbnail(DETECTION_SIZE)
    meshes: list[Mesh] = []
    for turns in ((0,), (1, 2, 3)):
        found = detect_faces(thumbnail, threshold=options.threshold, min_size=options.min_size * scale, turns=turns)
        placed = [Detection((d.box + 0.5) / scale - 0.5, d.score, (d.points + 0.5) / scale - 0.5) for d in found]
        meshes = [mesh for mesh in (find_best_landmarks(frame, d) for d in placed) if mesh.score >= START]
        if meshes:
            break
    meshes.sort(key=lambda mesh: -mesh.score)
    return [_described(frame, Sighting(-1, mesh, np.nan, wants_embedding=True)) for mesh in meshes]


def picture_embeddings(path: Path) -> list[np.ndarray]:
    """The embeddings `(128,)` of the faces in a picture file, the surest first.

    Raises:
        FootageError: it is not a picture.
    """
    return [face.embedding for face in describe(frame_from_rgb(read_picture(path))) if face.embedding is not None]


def _described(frame: Frame, sighting: Sighting) -> Face:
    """All that is known of a sighting in its own frame."""
    mesh = sighting.mesh
    pose = head_pose(mesh.landmarks)
    inner = cv2.resize(np.ascontiguousarray(mesh.crop[FACE, FACE]), (96, 96), interpolation=cv2.INTER_AREA)
    inner = np.asarray(inner, np.float32)
    return Face(
        frame=frame.index,
        time=frame.time,
        track=sighting.track,
        identity=-1,
        box=mesh.box,
        landmarks=mesh.landmarks,
        score=mesh.score,
        pose=pose,
        blendshapes=blendshapes(mesh.landmarks, float(pose[2])),
        embedding=embed(frame, mesh.landmarks) if sighting.wants_embedding else None,
        sharpness=float(np.float32(sharpness(inner))),  # as the table keeps it
        alignment=align(mesh.landmarks),
        thumbnail=_jpeg(inner) if sighting.wants_embedding else None,
    )


def _jpeg(rgb: np.ndarray) -> bytes:
    """A picture `(h, w, 3)` in [0, 1] as JPEG."""
    file = io.BytesIO()
    Image.fromarray((rgb * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def _look_through(
    footage: Footage,
    parts: Path,
    key: dict[str, Any],
    options: AnalyzeOptions,
    faces: list[Face],
    state: TrackerState,
    frames: int,
    events: EventCallback,
) -> tuple[list[Face], int, int | None]:
    """All faces, the number of frames, and that of lost ones; from frame `frames` on."""
    waiting: deque[Future[Face]] = deque()
    recent: list[Face] = []  # since the last part

    def settle(leave: int) -> None:
        while len(waiting) > leave:
            recent.append(waiting.popleft().result())

    with (
        Reader(footage, first=frames, deinterlace=options.deinterlace, seek=False, on_event=events) as reader,
        ThreadPoolExecutor(2, "faces") as pool,
        ThreadPoolExecutor(2, "meshes") as meshes,
    ):
        tracker = Tracker(threshold=options.threshold, min_size=options.min_size, state=state, pool=meshes)
        for frame in reader:
            if frame.index % options.every == 0:
                if footage.kind == "photos":
                    tracker.cut()
                waiting.extend(pool.submit(_described, frame, sighting) for sighting in tracker.step(frame))
                settle(WAITING)
            frames = frame.index + 1
            if frames % PART == 0:
                settle(0)
                part = {**key, "frames": frames, "state": tracker.state.plain()}
                write_faces(parts / f"{frames:09d}.parquet", recent, part)
                faces.extend(recent)
                recent.clear()
            if frames % 10 == 0:
                events(Progress("analyze", frames, footage.frames))
        settle(0)
    events(Progress("analyze", frames, frames))
    return faces + recent, frames, reader.lost


def _resume(parts: Path, key: dict[str, Any]) -> tuple[list[Face], TrackerState, int]:
    """What earlier parts hold: faces, the tracker's state, frames done; parts made otherwise are deleted."""
    faces: list[Face] = []
    state, frames = TrackerState(), 0
    for path in sorted(parts.glob("*.parquet")) if parts.is_dir() else []:
        found, metadata = read_faces(path)
        if not key.items() <= metadata.items() or metadata["frames"] != frames + PART:
            shutil.rmtree(parts)
            return [], TrackerState(), 0
        faces.extend(found)
        state, frames = TrackerState.from_plain(metadata["state"]), metadata["frames"]
    return faces, state, frames


def _finished(faces: Sequence[Face], metadata: dict[str, Any], every: int, *, are_photos: bool) -> FaceTable:
    """The table: tracks checked and split, alignments smoothed, identities told."""
    smooth: list[Face] = []
    for track in FaceTable(split_changed(faces), metadata).tracks().values():
        if not are_photos and len(track) <= BRIEF < metadata["frames"] and all(_is_doubtful(face) for face in track):
            continue  # the mesh took something for a face for a moment
        smooth.extend(_smoothed(track, every))
    table = FaceTable(smooth, metadata)
    (labels,) = cluster([table])
    return table.with_identities(labels)


def _is_doubtful(face: Face) -> bool:
    """Whether a view is no face as likely as one: the mesh is unsure, or finds it lying on its side."""
    return face.score < CLEAR or abs(face.pose[2]) > 60


def _smoothed(track: Sequence[Face], every: int) -> list[Face]:
    """The faces of a track with smoothed alignments; a gap in the analysed frames is not bridged."""
    gaps = [i for i in range(1, len(track)) if track[i].frame != track[i - 1].frame + every]
    result: list[Face] = []
    for start, end in zip([0, *gaps], [*gaps, len(track)], strict=True):
        piece = track[start:end]
        times = np.array([float(face.time) for face in piece])
        scores = np.array([face.score for face in piece])
        matrices = smooth_alignments(times, np.stack([face.alignment for face in piece]), scores)
        result.extend(replace(face, alignment=matrix) for face, matrix in zip(piece, matrices, strict=True))
    return result
