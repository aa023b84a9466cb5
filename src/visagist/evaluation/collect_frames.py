"""From two files to a case.

- `gather`: read target and render side by side, crop every face that is to be judged, and look at it
- `Performer`: whose face that is; `Repeat`: the merge that made the render, to be made again for its mask
- `Gathered`: the case, the baselines beside it, and what can be said without a metric
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.core.events import Events, Progress
from visagist.evaluation.baselines import Paster, jittered
from visagist.evaluation.evaluation_data import Appearance, Case, Source
from visagist.evaluation.frame_matching import Pairing, number_rate, pair_frames
from visagist.evaluation.impostors import strangers_to
from visagist.evaluation.metrics.background import is_changed, outside_psnr, planes_changed_outside
from visagist.evaluation.observe import COVERAGE, crop_of, crop_store, look
from visagist.evaluation.result import NOISE, PASTE, RENDER, TARGET, Coverage, Flag
from visagist.evaluation.temporal_offset import check_same_scene, misplaced
from visagist.faces import Face, compose, crop_matrix, crop_side, hull_mask, invert, transform
from visagist.media import Footage, Frame, Reader
from visagist.merging import MergeOptions
from visagist.merging.pipeline import Merged, merge_frames
from visagist.models.bundle import TrainedNetwork

STEP = "evaluate"
SMALLEST, LARGEST, GRAIN = 128, 384, 32  # px, side of the crops
WORKERS = 2
WAITING = 12  # frames in work
NOT_SWAPPED = "shows the performer, and the render left it as it is"
NOT_JUDGED = "the performer's landmarks are uncertain (turned away or covered), so that nothing but coverage is judged"
NO_FACE = "no face was found in the render where the target has one"
UNPAIRED = "the render has no frame at this time"


@dataclass(frozen=True, eq=False)
class Performer:
    """Whose face was replaced."""

    faces: list[Face]  # those that can be judged, in frame order; at least one
    uncertain: list[Face]  # the others: turned away or covered; what a merge leaves out is its own affair

    def __len__(self) -> int:
        return len(self.faces) + len(self.uncertain)


@dataclass(frozen=True, eq=False)
class Repeat:
    """A merge that is made again, without being written: the render's own, by its credentials and its saved call."""

    run: TrainedNetwork
    options: MergeOptions
    face_of: Callable[[int], Face | str]  # as the merge had it


@dataclass(frozen=True, eq=False)
class Gathered:
    """What there is to judge."""

    case: Case  # the render judged
    baselines: tuple[Appearance, ...]
    coverage: Coverage
    planes_changed_outside: int | None  # None: the merge was not repeated, so nobody knows the planes before encoding
    flags: tuple[Flag, ...]


@dataclass(frozen=True, eq=False)
class _Stores:
    """Crops of every frame that may be judged, in files."""

    target: NDArray[np.uint8]  # (N, S, S, 3)
    render: NDArray[np.uint8]
    paste: NDArray[np.uint8]
    noise: NDArray[np.uint8]
    masks: NDArray[np.uint8]  # (N, S, S)
    hulls: NDArray[np.uint8]

    @classmethod
    def make(cls, folder: Path, count: int, size: int) -> "_Stores":
        square = (count, size, size)
        pictures = (crop_store(folder / f"{name}.npy", (*square, 3)) for name in ("target", "render", "paste", "noise"))
        masks = (crop_store(folder / f"{name}.npy", square) for name in ("masks", "hulls"))
        return cls(*pictures, *masks)


@dataclass(frozen=True, eq=False)
class _Taken:
    """What is known of one frame besides its crops."""

    face: Face
    matrix: NDArray[np.float64]  # (2, 3) frame px to crop px
    expected: NDArray[np.float64]  # (478, 2) crop px
    outside: float  # dB
    is_swapped: bool
    unjitter: NDArray[np.float64]  # (2, 3) px of the noise crop to crop px
    planes_changed: int | None


def crop_size(faces: list[Face]) -> int:
    """Side in px at which the crops neither gain nor lose, within bounds that keep an evaluation quick."""
    native = float(np.median([crop_side(face.alignment, COVERAGE) for face in faces]))
    return int(np.clip(round(native / GRAIN) * GRAIN, SMALLEST, LARGEST))


def gather(
    target: Footage,
    render: Footage,
    performer: Performer,
    lost: int | None,
    source: Source,
    repeat: Repeat | None,
    options: MergeOptions,
    offset: float,
    folder: Path,
    events: Events,
) -> Gathered:
    """Read target and render side by side and look at every face.

    Args:
        target: what was changed.
        render: what is judged.
        performer: whose face is judged.
        lost: frames that the target states and does not give.
        source: real faces of the source; its crops' size is the case's.
        repeat: the merge that made the render, where that is known: the mask is then the merge's own.
        options: how the target is read.
        offset: s, added to the render's times.
        folder: for the crops; the caller deletes it.
        events: told progress.

    Raises:
        EvaluationError: the two do not fit, show different things, or the render shows no face.
        FootageError: a file cannot be read.
    """
    if (render.width, render.height) != (target.width, target.height):
        raise EvaluationError(
            f"{render.path}: {render.width}x{render.height}, and {target.path} is {target.width}x{target.height}; "
            "frames are compared pixel by pixel, so give the render at the target's own size"
        )
    stores = _Stores.make(folder, len(performer.faces), source.crops.shape[1])
    pairing = Pairing(number_rate(target, render), Fraction(offset).limit_denominator(1_000_000))
    paster = Paster.plan(source, performer.faces)
    taken, others_changed = _take_all(target, render, performer, paster, repeat, options, pairing, stores, lost, events)
    pairing.check(target, render)
    if not taken:
        raise EvaluationError(f"{render.path}: has no frame at a time at which {target.path} shows the performer")
    count = len(taken)
    to_frame = np.stack([invert(entry.matrix) for entry in taken])
    expected = np.stack([entry.expected for entry in taken])
    outside = np.array([entry.outside for entry in taken])
    check_same_scene(target, render, outside)
    unjittered = np.stack([compose(back, entry.unjitter) for back, entry in zip(to_frame, taken, strict=True)])
    done = 0

    def told(number: int) -> None:
        events(Progress("look at faces", done + number, 4 * count, "faces"))

    views: list[Appearance] = []
    for name, crops, way, embeds in (
        (RENDER, stores.render, to_frame, True),
        (TARGET, stores.target, to_frame, True),
        (PASTE, stores.paste, to_frame, True),
        (NOISE, stores.noise, unjittered, False),
    ):
        known = outside if name == RENDER else np.full(count, np.nan)
        views.append(look(name, crops[:count], way, expected, known, embeds=embeds, told=told))
        done += count
    judged, seen, *others = views
    if not judged.is_found.any():
        raise EvaluationError(f"{render.path}: no face was found in any of the {count} frames that should show one")
    case = Case(
        frames=np.array([entry.face.frame for entry in taken]),
        times=np.array([float(entry.face.time) for entry in taken]),
        follows=_follows(taken),
        matrices=np.stack([entry.matrix for entry in taken]),
        masks=stores.masks[:count],
        hulls=stores.hulls[:count],
        is_swapped=np.array([entry.is_swapped for entry in taken]),
        target=seen,
        judged=judged,
        source=source,
        strangers=strangers_to(source, seen),
    )
    changes = [entry.planes_changed for entry in taken if entry.planes_changed is not None]
    return Gathered(
        case,
        (seen, *others),
        _coverage(pairing, performer, taken, others_changed),
        max(changes) if changes else None,
        (*misplaced(case, performer.faces, outside), *_flags(pairing, case, performer)),
    )


def _take_all(
    target: Footage,
    render: Footage,
    performer: Performer,
    paster: Paster,
    repeat: Repeat | None,
    options: MergeOptions,
    pairing: Pairing,
    stores: _Stores,
    lost: int | None,
    events: Events,
) -> tuple[list[_Taken], list[Face]]:
    """Fill the stores; what else is known of each frame, in order, and which of the uncertain faces were changed."""
    taken: list[_Taken] = []
    changed: list[Face] = []
    waiting: deque[Future[_Taken]] = deque()
    judged, uncertain = ({face.frame: face for face in faces} for faces in (performer.faces, performer.uncertain))

    def settle(leave: int) -> None:
        while len(waiting) > leave:
            taken.append(waiting.popleft().result())
            events(Progress("read frames", len(taken), len(judged)))

    with (
        Reader(target, deinterlace=options.deinterlace, seek=not lost) as ours,
        Reader(render) as theirs,
        ThreadPoolExecutor(WORKERS, "crops") as pool,
    ):
        merged: deque[Merged] = deque()
        frames: Iterable[Frame] = ours
        if repeat is not None:
            frames = _originals(merge_frames(ours, repeat.face_of, repeat.run, repeat.options), merged)
        for frame, shown in pair_frames(frames, theirs, pairing):
            again = merged.popleft() if merged else None
            if shown is None:
                continue
            if frame.index in judged:
                number, face = len(taken) + len(waiting), judged[frame.index]
                waiting.append(pool.submit(_take, number, frame, shown, face, again, paster, stores))
                settle(WAITING)
            elif frame.index in uncertain and _is_changed_at(frame, shown, uncertain[frame.index], stores):
                changed.append(uncertain[frame.index])
        settle(0)
    return taken, changed


def _is_changed_at(frame: Frame, shown: Frame, face: Face, stores: _Stores) -> bool:
    """Whether the render replaced a face that is not judged."""
    size = stores.masks.shape[1]
    matrix = crop_matrix(face.alignment, COVERAGE, size)
    hull = hull_mask(transform(matrix, face.landmarks[:, :2].astype(np.float64)), size)
    return is_changed(crop_of(frame, matrix, size), crop_of(shown, matrix, size), hull)


def _originals(merged: Iterator[Merged], kept: deque[Merged]) -> Iterator[Frame]:
    """The target's frames of a merge; each merged one lies in `kept` while its frame is handled."""
    for entry in merged:
        kept.append(entry)
        yield entry.original


def _take(
    number: int, frame: Frame, shown: Frame, face: Face, merged: Merged | None, paster: Paster, stores: _Stores
) -> _Taken:
    """Crop one frame into the stores."""
    size = stores.masks.shape[1]
    matrix = crop_matrix(face.alignment, COVERAGE, size)
    expected = transform(matrix, face.landmarks[:, :2].astype(np.float64))  # (478, 2)
    hull = hull_mask(expected, size)
    target, render = crop_of(frame, matrix, size), crop_of(shown, matrix, size)
    stores.target[number], stores.render[number], stores.hulls[number] = target, render, hull
    stores.masks[number] = hull if merged is None else _mask_in_crop(merged, matrix, size)
    stores.paste[number] = paster.paste(face.frame, target, expected)
    stores.noise[number], unjitter = jittered(target, face.frame)
    outside = outside_psnr(frame, shown, face.landmarks)
    changed = is_changed(target, render, hull)
    planes = None if merged is None else planes_changed_outside(merged)
    return _Taken(face, matrix, expected, outside, changed, unjitter, planes)


def _mask_in_crop(merged: Merged, matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The merge's mask `(size, size)` as the crop sees it; empty where the merge changed nothing."""
    if merged.region is None:
        return np.zeros((size, size), np.uint8)
    shift = np.array([[1.0, 0, merged.region.x0], [0, 1, merged.region.y0]])  # px of the region to frame px
    weight = (merged.weight * 255 + 0.5).astype(np.uint8)
    warped = cv2.warpAffine(weight, compose(matrix, shift), (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8)


def _follows(taken: list[_Taken]) -> NDArray[np.bool_]:
    """`(N,)`: whether the entry before is the frame before of the same track (tracks end at cuts)."""
    same = [b.face.frame == a.face.frame + 1 and b.face.track == a.face.track for a, b in pairwise(taken)]
    return np.array([False, *same])


def _coverage(pairing: Pairing, performer: Performer, taken: list[_Taken], others: list[Face]) -> Coverage:
    swapped = [*(entry.face for entry in taken if entry.is_swapped), *others]
    tracks = {face.track for face in (*performer.faces, *performer.uncertain)}
    return Coverage(
        target_frames=pairing.paired + len(pairing.alone_in_target),
        paired_frames=pairing.paired,
        performer_frames=len(performer),
        swapped_frames=len(swapped),
        tracks=len(tracks),
        tracks_missed=len(tracks - {face.track for face in swapped}),
    )


def _flags(pairing: Pairing, case: Case, performer: Performer) -> tuple[Flag, ...]:
    flags = [Flag(UNPAIRED, frame) for frame in pairing.alone_in_target]
    flags += [Flag(NOT_JUDGED, face.frame, float(face.time)) for face in performer.uncertain]
    if pairing.alone_in_render:
        flags.append(Flag(f"{pairing.alone_in_render} frames of the render have no frame of the target at their time"))
    for i, (frame, time) in enumerate(zip(case.frames.tolist(), case.times.tolist(), strict=True)):
        if not case.judged.is_found[i]:
            flags.append(Flag(NO_FACE, frame, time))
        if not case.is_swapped[i]:
            flags.append(Flag(NOT_SWAPPED, frame, time))
        if not case.target.is_found[i]:
            flags.append(Flag("the detector is not sure of the target's own face", frame, time))
    return tuple(flags)
