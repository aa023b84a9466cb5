"""Finding, tracking and describing all faces of footage.

Tracking, description (pose, blendshapes, sharpness, embedding) and decoding run in parallel threads. The results and
the tracker's state are saved every `PART_FRAMES` frames, so that an interrupted analysis resumes.
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
from visagist.core.files import sweep
from visagist.core.settings import Settings
from visagist.core.types import StrPath
from visagist.faces.align import align
from visagist.faces.clusters import cluster, split_changed
from visagist.faces.detection import DETECTION_SIZE, Detection, detect_faces
from visagist.faces.identity import embed, sharpness
from visagist.faces.landmarks import CLEAR_SCORE, Mesh, find_best_landmarks
from visagist.faces.pose import blendshapes, head_pose
from visagist.faces.smoothing import smooth_alignments
from visagist.faces.table import Face, FaceTable, read_faces, write_faces
from visagist.faces.tracking import MIN_START_SCORE, Sighting, Tracker, TrackerState
from visagist.media import Footage, Frame, Reader, footage_sha256, frame_from_rgb, probe, read_picture
from visagist.zoo.sessions import model_sha256

PART_FRAMES = 125  # frames between saved parts, which is what a kill can cost
MAX_PENDING_FACES = 24  # faces waiting for description
BRIEF_TRACK_FRAMES = 3  # tracks up to this length are dropped unless the mesh is confident
FACE_IN_CROP = slice(32, 224)  # rows and columns of the face in the mesh crop
TABLE_MODELS = ("yunet", "facemesh", "blendshapes", "sface")  # models that determine the contents of a table


class AnalyzeOptions(Settings):
    """Settings of face detection."""

    threshold: float = Field(default=0.6, ge=0, le=1)  # minimum detection score, 0..1
    min_size: FiniteFloat = Field(default=24.0, ge=0)  # minimum of a face's longer side, px
    every: int = Field(default=1, ge=1)  # analyse every Nth frame, starting with the first
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
        table: Parquet file to write. An existing table of the same footage, options and models is returned unchanged;
            an interrupted analysis is resumed.
        options: settings of face detection.
        on_event: callback receiving progress, notes and warnings.

    Raises:
        FootageError: the footage cannot be used.
        OutputError: the table cannot be written.
    """
    table, options, events = Path(table), options or AnalyzeOptions(), on_event or silent
    footage = footage if isinstance(footage, Footage) else probe(footage)
    sweep(table.parent, table)
    parts = table.with_name(f".{table.stem}.parts")
    done = known_table(footage, table, options)
    if done is not None:
        shutil.rmtree(parts, ignore_errors=True)  # of a process killed after writing the table
        events(Progress("analyze", done.frames, done.frames))
        return done
    key = _key(footage, options)
    faces, state, frames = _resume(parts, key)
    faces, frames, lost = _analyze_frames(footage, parts, key, options, faces, state, frames, events)
    metadata = {**key, "frames": frames, "width": footage.width, "height": footage.height, "lost": lost}
    result = _build_table(faces, metadata, options.every, are_photos=footage.kind == "photos")
    result.save(table)
    shutil.rmtree(parts, ignore_errors=True)
    return result


def known_table(footage: Footage, table: Path, options: AnalyzeOptions) -> FaceTable | None:
    """An existing table made by `analyze` from the same footage, options and models; None if there is none."""
    if not table.is_file():
        return None
    try:
        found = FaceTable.load(table)
    except FootageError:
        return None  # damaged or of another version
    return found if _key(footage, options).items() <= found.metadata.items() else None


def _key(footage: Footage, options: AnalyzeOptions) -> dict[str, Any]:
    """Everything that determines the contents of a table, as stored in its metadata."""
    key = {
        **({"photos": True} if footage.kind == "photos" else {}),
        "footage_sha256": footage_sha256(footage),
        "options": options.model_dump(mode="json"),
        "models": face_models(),
    }
    # The rate of a sequence determines frame times and thus smoothing, but is not part of the files.
    return {**key, "rate": str(footage.rate)} if footage.kind == "sequence" else key


def face_models() -> dict[str, str]:
    """SHA-256 by name of the models used by `analyze`, including the user's replacements."""
    return {name: model_sha256(name) for name in TABLE_MODELS}


def describe(frame: Frame, options: AnalyzeOptions | None = None) -> list[Face]:
    """Find and describe the faces of a single frame, most confident first.

    If no face is found upright, all quarter turns are tried. Track and identity are -1, alignments are not smoothed,
    and every face has an embedding. Use `frame_from_rgb` to make a frame from a picture.
    """
    options = options or AnalyzeOptions()
    thumbnail, scale = frame.thumbnail(DETECTION_SIZE)
    meshes: list[Mesh] = []
    for turns in ((0,), (1, 2, 3)):
        found = detect_faces(thumbnail, threshold=options.threshold, min_size=options.min_size * scale, turns=turns)
        placed = [Detection((d.box + 0.5) / scale - 0.5, d.score, (d.points + 0.5) / scale - 0.5) for d in found]
        meshes = [mesh for mesh in (find_best_landmarks(frame, d) for d in placed) if mesh.score >= MIN_START_SCORE]
        if meshes:
            break
    meshes.sort(key=lambda mesh: -mesh.score)
    return [_described(frame, Sighting(-1, mesh, np.nan, wants_embedding=True)) for mesh in meshes]


def picture_embeddings(path: Path, *, packaged: bool = False) -> list[np.ndarray]:
    """The embeddings `(128,)` of the faces in a picture file, most confident first; `packaged` as in `embed`.

    Raises:
        FootageError: the file is not a picture.
    """
    frame = frame_from_rgb(read_picture(path))
    return [embed(frame, face.landmarks, packaged=packaged) for face in describe(frame)]


def _described(frame: Frame, sighting: Sighting) -> Face:
    mesh = sighting.mesh
    pose = head_pose(mesh.landmarks)
    inner = cv2.resize(
        np.ascontiguousarray(mesh.crop[FACE_IN_CROP, FACE_IN_CROP]), (96, 96), interpolation=cv2.INTER_AREA
    )
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
        sharpness=float(np.float32(sharpness(inner))),  # as stored in the table
        alignment=align(mesh.landmarks),
        thumbnail=_jpeg(inner) if sighting.wants_embedding else None,
    )


def _jpeg(rgb: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray((rgb * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def _analyze_frames(
    footage: Footage,
    parts: Path,
    key: dict[str, Any],
    options: AnalyzeOptions,
    faces: list[Face],
    state: TrackerState,
    frames: int,
    events: EventCallback,
) -> tuple[list[Face], int, int | None]:
    """Process the footage from frame `frames` on; return all faces, the frame count and the lost frames."""
    waiting: deque[Future[Face]] = deque()
    recent: list[Face] = []  # since the last saved part

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
                settle(MAX_PENDING_FACES)
            frames = frame.index + 1
            if frames % PART_FRAMES == 0:
                settle(0)
                size = {"width": footage.width, "height": footage.height}
                part = {**key, **size, "frames": frames, "state": tracker.state.plain()}
                write_faces(parts / f"{frames:09d}.parquet", recent, part)
                faces.extend(recent)
                recent.clear()
            if frames % 10 == 0:
                events(Progress("analyze", frames, footage.frames))
        settle(0)
    events(Progress("analyze", frames, frames))
    return faces + recent, frames, reader.lost


def _resume(parts: Path, key: dict[str, Any]) -> tuple[list[Face], TrackerState, int]:
    """Faces, tracker state and frame count from saved parts; parts of another analysis are deleted."""
    faces: list[Face] = []
    state, frames = TrackerState(), 0
    sweep(parts)
    for path in sorted(parts.glob("*.parquet")):
        try:
            found, metadata = read_faces(path)
            state_then = TrackerState.from_plain(metadata["state"])
        except (FootageError, ValueError, TypeError, LookupError):
            break  # damaged: this part and those after it are made again
        if not key.items() <= metadata.items() or metadata["frames"] != frames + PART_FRAMES:
            shutil.rmtree(parts)
            return [], TrackerState(), 0
        faces.extend(found)
        state, frames = state_then, metadata["frames"]
    return faces, state, frames


def _build_table(faces: Sequence[Face], metadata: dict[str, Any], every: int, *, are_photos: bool) -> FaceTable:
    """Filter and split tracks, smooth alignments and assign identities."""
    smooth: list[Face] = []
    for track in FaceTable(split_changed(faces), metadata).tracks().values():
        if (
            not are_photos
            and len(track) <= BRIEF_TRACK_FRAMES < metadata["frames"]
            and all(_is_doubtful(face) for face in track)
        ):
            continue  # briefly mistaken for a face
        smooth.extend(_smoothed(track, every))
    table = FaceTable(smooth, metadata)
    (labels,) = cluster([table])
    return table.with_identities(labels)


def _is_doubtful(face: Face) -> bool:
    """Whether this may not be a face: low confidence, or lying on its side."""
    return face.score < CLEAR_SCORE or abs(face.pose[2]) > 60


def _smoothed(track: Sequence[Face], every: int) -> list[Face]:
    """The faces of a track with smoothed alignments, without smoothing across gaps."""
    gaps = [i for i in range(1, len(track)) if track[i].frame != track[i - 1].frame + every]
    result: list[Face] = []
    for start, end in zip([0, *gaps], [*gaps, len(track)], strict=True):
        piece = track[start:end]
        times = np.array([float(face.time) for face in piece])
        scores = np.array([face.score for face in piece])
        matrices = smooth_alignments(times, np.stack([face.alignment for face in piece]), scores)
        result.extend(replace(face, alignment=matrix) for face, matrix in zip(piece, matrices, strict=True))
    return result
