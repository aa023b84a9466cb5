"""Build `EvaluationData` from target and render: read both side by side, crop each face and run the detectors on it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.core.events import EventCallback, Progress
from visagist.evaluation.baselines import CopyPaste, jittered
from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source, follows_previous
from visagist.evaluation.frame_matching import FrameMatching, check_same_scene, mismatch_flags
from visagist.evaluation.impostors import impostors_for
from visagist.evaluation.metrics.background import is_changed, outside_psnr, planes_changed_outside
from visagist.evaluation.observe import COVERAGE, crop_of, observe_faces
from visagist.evaluation.result import NOISE, PASTE, RENDER, TARGET, Coverage, Flag
from visagist.faces import Face, compose, crop_matrix, crop_side, hull_mask, invert, transform
from visagist.media import Frame, Reader
from visagist.merging import MergeOptions
from visagist.merging.pipeline import Merged, merge_frames
from visagist.models.bundle import TrainedNetwork

STEP = "evaluate"
MIN_CROP, MAX_CROP, CROP_STEP = 128, 384, 32  # px, side of the crops
WORKERS = 2
WAITING_FRAMES = 12  # queued or being processed
NOT_SWAPPED = "not swapped: the render shows the target's own face"
NOT_EVALUATED = "not evaluated: the performer's landmarks are uncertain (turned away or covered)"
NO_FACE = "no face found in the render where the target has one"
NO_MATCH = "no frame of the render at this time"


@dataclass(frozen=True, eq=False)
class Performer:
    """The performer's faces in the target."""

    faces: list[Face]  # those to evaluate, in frame order; at least one
    uncertain: list[Face]  # turned away or covered; they count for the coverage only

    def __len__(self) -> int:
        return len(self.faces) + len(self.uncertain)


@dataclass(frozen=True, eq=False)
class RepeatedMerge:
    """The merge that made the render, repeated in memory to recover its mask."""

    run: TrainedNetwork
    options: MergeOptions
    face_of: Callable[[int], Face | str]  # as in `merge_frames`


@dataclass(frozen=True, eq=False)
class CollectedFrames:
    """Everything that the metrics and the report need."""

    data: EvaluationData  # with the render as the evaluated footage
    baselines: tuple[FaceObservations, ...]
    coverage: Coverage
    planes_changed_outside: int | None  # None: the merge was not repeated
    flags: tuple[Flag, ...]


class _Crops:
    """Crops of every frame to evaluate, in memory-mapped files."""

    def __init__(self, folder: Path, count: int, size: int) -> None:
        def store(name: str, *channels: int) -> NDArray[np.uint8]:
            shape = (count, size, size, *channels)
            return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)

        self.size = size
        self.target, self.render = store("target", 3), store("render", 3)  # (N, S, S, 3)
        self.paste, self.noise = store("paste", 3), store("noise", 3)
        self.masks, self.hulls = store("masks"), store("hulls")  # (N, S, S)


@dataclass(frozen=True, eq=False)
class _CollectedFrame:
    """Measurements of one frame, besides its crops."""

    face: Face
    matrix: NDArray[np.float64]  # (2, 3) frame px to crop px
    expected: NDArray[np.float64]  # (478, 2) crop px
    outside: float  # dB
    is_swapped: bool
    unjitter: NDArray[np.float64]  # (2, 3) px of the noise crop to crop px
    planes_changed: int | None


def crop_size(faces: list[Face]) -> int:
    """Side in px at which crops are about native size."""
    native = float(np.median([crop_side(face.alignment, COVERAGE) for face in faces]))
    return int(np.clip(round(native / CROP_STEP) * CROP_STEP, MIN_CROP, MAX_CROP))


def collect_frames(
    matching: FrameMatching,
    performer: Performer,
    source: Source,
    *,
    folder: Path,
    repeat: RepeatedMerge | None = None,
    is_self_swap: bool = False,
    deinterlace: bool = False,
    seek: bool = True,
    events: EventCallback,
) -> CollectedFrames:
    """Read target and render side by side and run the detectors on every face.

    Args:
        matching: target, render and offset; its counts are updated.
        performer: the faces to evaluate.
        source: real faces of the source; all crops get the size of its crops.
        folder: for the crops; the caller deletes it.
        repeat: the merge that made the render, if known; it provides the mask.
        is_self_swap: count every merged frame as swapped, even without a visible change: a perfect self-swap changes
            nothing, and leaving out such frames would leave out the best ones.
        deinterlace: deinterlace the target.
        seek: as in `Reader`, for the target.
        events: callback receiving progress.

    Raises:
        EvaluationError: render and target do not match or show different scenes, or the render shows no face.
        FootageError: a file cannot be read.
    """
    target, render = matching.target, matching.render
    if (render.width, render.height) != (target.width, target.height):
        raise EvaluationError(
            f"{render.path}: {render.width}x{render.height}, but {target.path} is {target.width}x{target.height}; "
            "frames are compared pixel by pixel, so give the render at the target's size"
        )
    crops = _Crops(folder, len(performer.faces), source.crops.shape[1])
    paster = CopyPaste.plan(source, performer.faces)
    with Reader(target, deinterlace=deinterlace, seek=seek) as ours, Reader(render) as theirs:
        pairs = _with_merges(ours, theirs, matching, repeat)
        taken, changed = _take_all(pairs, performer, paster, crops, events)
    matching.check()
    if not taken:
        raise EvaluationError(f"{render.path}: has no frame at a time at which {target.path} shows the performer")
    outside = np.array([entry.outside for entry in taken])
    check_same_scene(matching, outside)
    evaluated, seen, *others = _observe_all(taken, crops, outside, events)
    if not evaluated.is_found.any():
        raise EvaluationError(f"{render.path}: no face found in any of the {len(taken)} frames that should show one")
    count = len(taken)
    is_swapped = np.array([entry.is_swapped for entry in taken])
    if is_self_swap:
        is_swapped = np.array([repeat is None or mask.any() for mask in crops.masks[:count]])
    data = EvaluationData(
        frames=np.array([entry.face.frame for entry in taken]),
        times=np.array([float(entry.face.time) for entry in taken]),
        follows=follows_previous([entry.face for entry in taken]),
        matrices=np.stack([entry.matrix for entry in taken]),
        masks=crops.masks[:count],
        hulls=crops.hulls[:count],
        is_swapped=is_swapped,
        target=seen,
        evaluated=evaluated,
        source=source,
        impostors=impostors_for(source, seen),
    )
    changed += [entry.face for entry, swapped in zip(taken, is_swapped, strict=True) if swapped]
    return CollectedFrames(
        data,
        (seen, *others),
        _coverage(matching, performer, changed),
        max((entry.planes_changed for entry in taken if entry.planes_changed is not None), default=None),
        (*mismatch_flags(matching, data, performer.faces, outside), *_flags(matching, data, performer)),
    )


def _with_merges(
    ours: Iterable[Frame], theirs: Iterable[Frame], matching: FrameMatching, repeat: RepeatedMerge | None
) -> Iterator[tuple[Frame, Frame, Merged | None]]:
    """Matched frames of target and render, each with the repeated merge."""
    merges: deque[Merged] = deque()

    def originals() -> Iterator[Frame]:
        assert repeat is not None
        for merged in merge_frames(ours, repeat.face_of, repeat.run, repeat.options):
            merges.append(merged)
            yield merged.original

    for frame, shown in matching.pairs(ours if repeat is None else originals(), theirs):
        merged = merges.popleft() if merges else None
        if shown is not None:
            yield frame, shown, merged


def _take_all(
    pairs: Iterable[tuple[Frame, Frame, Merged | None]],
    performer: Performer,
    paster: CopyPaste,
    crops: _Crops,
    events: EventCallback,
) -> tuple[list[_CollectedFrame], list[Face]]:
    """Fill `crops`; return the other measurements in order, and the uncertain faces that were changed."""
    taken: list[_CollectedFrame] = []
    changed: list[Face] = []
    waiting: deque[Future[_CollectedFrame]] = deque()
    evaluated, uncertain = ({face.frame: face for face in faces} for faces in (performer.faces, performer.uncertain))

    def finish(leave: int) -> None:
        while len(waiting) > leave:
            taken.append(waiting.popleft().result())
            events(Progress("read frames", len(taken), len(evaluated)))

    with ThreadPoolExecutor(WORKERS, "crops") as pool:
        for frame, shown, merged in pairs:
            if face := evaluated.get(frame.index):
                number = len(taken) + len(waiting)
                waiting.append(pool.submit(_take, number, frame, shown, face, merged, paster, crops))
                finish(WAITING_FRAMES)
            elif face := uncertain.get(frame.index):
                matrix, _, hull = _place(face, crops.size)
                if is_changed(crop_of(frame, matrix, crops.size), crop_of(shown, matrix, crops.size), hull):
                    changed.append(face)
        finish(0)
    return taken, changed


def _take(
    number: int, frame: Frame, shown: Frame, face: Face, merged: Merged | None, paster: CopyPaste, crops: _Crops
) -> _CollectedFrame:
    matrix, expected, hull = _place(face, crops.size)
    target, render = crop_of(frame, matrix, crops.size), crop_of(shown, matrix, crops.size)
    crops.target[number], crops.render[number], crops.hulls[number] = target, render, hull
    crops.masks[number] = hull if merged is None else _mask_in_crop(merged, matrix, crops.size)
    crops.paste[number] = paster.paste(face.frame, target, expected)
    crops.noise[number], unjitter = jittered(target, face.frame)
    outside = outside_psnr(frame, shown, face.landmarks)
    planes = None if merged is None else planes_changed_outside(merged)
    return _CollectedFrame(face, matrix, expected, outside, is_changed(target, render, hull), unjitter, planes)


def _place(face: Face, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Frame px to crop px, the face's landmarks `(478, 2)` in the crop, and their hull."""
    matrix = crop_matrix(face.alignment, COVERAGE, size)
    expected = transform(matrix, face.landmarks[:, :2].astype(np.float64))
    return matrix, expected, hull_mask(expected, size)


def _mask_in_crop(merged: Merged, matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The merge's mask `(size, size)`; empty if the merge changed nothing."""
    if merged.region is None:
        return np.zeros((size, size), np.uint8)
    shift = np.array([[1.0, 0, merged.region.x0], [0, 1, merged.region.y0]])  # px of the region to frame px
    weight = (merged.weight * 255 + 0.5).astype(np.uint8)
    return np.asarray(cv2.warpAffine(weight, compose(matrix, shift), (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def _observe_all(
    taken: list[_CollectedFrame], crops: _Crops, outside: NDArray[np.float64], events: EventCallback
) -> tuple[FaceObservations, ...]:
    """Observations of render, unswapped target, copy-paste and jittered target."""
    count = len(taken)
    to_frame = np.stack([invert(entry.matrix) for entry in taken])
    unjittered = np.stack([compose(back, entry.unjitter) for back, entry in zip(to_frame, taken, strict=True)])
    expected = np.stack([entry.expected for entry in taken])
    unknown = np.full(count, np.nan)
    views: list[FaceObservations] = []

    def progress(number: int) -> None:
        events(Progress("analyze faces", len(views) * count + number, 4 * count, "faces"))

    for name, pictures, matrices, psnr in (
        (RENDER, crops.render, to_frame, outside),
        (TARGET, crops.target, to_frame, unknown),
        (PASTE, crops.paste, to_frame, unknown),
        (NOISE, crops.noise, unjittered, unknown),
    ):
        views.append(
            observe_faces(name, pictures[:count], matrices, expected, psnr, embeds=name != NOISE, on_progress=progress)
        )
    return tuple(views)


def _coverage(matching: FrameMatching, performer: Performer, changed: list[Face]) -> Coverage:
    tracks = {face.track for face in (*performer.faces, *performer.uncertain)}
    return Coverage(
        target_frames=matching.matched + len(matching.target_only),
        paired_frames=matching.matched,
        performer_frames=len(performer),
        swapped_frames=len(changed),
        tracks=len(tracks),
        tracks_missed=len(tracks - {face.track for face in changed}),
    )


def _flags(matching: FrameMatching, data: EvaluationData, performer: Performer) -> list[Flag]:
    flags = [Flag(NO_MATCH, frame) for frame in matching.target_only]
    flags += [Flag(NOT_EVALUATED, face.frame, float(face.time)) for face in performer.uncertain]
    if matching.render_only:
        flags.append(Flag(f"{matching.render_only} frames of the render match no frame of the target"))
    for i, (frame, time) in enumerate(zip(data.frames.tolist(), data.times.tolist(), strict=True)):
        if not data.evaluated.is_found[i]:
            flags.append(Flag(NO_FACE, frame, time))
        if not data.is_swapped[i]:
            flags.append(Flag(NOT_SWAPPED, frame, time))
        if not data.target.is_found[i]:
            flags.append(Flag("no face found in the target's crop", frame, time))
    return flags
