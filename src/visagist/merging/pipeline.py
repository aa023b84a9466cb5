"""The merge as a generator from frames to merged frames; decoding, prediction and compositing run concurrently."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from visagist.core.errors import RunError
from visagist.faces import Coverage, Face, crop_matrix, hull_mask
from visagist.media import Frame, Region
from visagist.merging.color import COLOR
from visagist.merging.composite import composite
from visagist.merging.masks import MASKS, MaskInput
from visagist.merging.masks.shape import feather
from visagist.merging.options import MergeOptions
from visagist.merging.strays import without_strays
from visagist.merging.visibility import Sight, Steadier, look, visible

COMPOSITORS = 2  # threads; more than the cores of a small machine gains nothing
BATCH = 16  # frames whose faces are predicted together


class Predictor(Protocol):
    """The interface of a trained network that merging uses."""

    @property
    def path(self) -> Path: ...
    @property
    def coverage(self) -> Coverage: ...
    @property
    def size(self) -> int: ...
    def predict(self, faces: torch.Tensor, identity: str, morph: float | None) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, 3, R, R)` float32 sRGB in [0, 1] to the same and a `(B, 1, R, R)` mask in [0, 1], both on the CPU."""
        ...


@dataclass(frozen=True)
class Untouched:
    """A frame that was passed through unchanged, and the reason."""

    frame: int
    reason: str


@dataclass(frozen=True)
class Merged:
    """A frame of the render."""

    frame: Frame
    original: Frame
    untouched: str | None  # the reason, None when the face was replaced
    weight: NDArray[np.float32]  # (h, w) mask within `region`
    region: Region | None


@dataclass(frozen=True)
class _Job:
    """One face of one frame, cropped for the network."""

    frame: int
    matrix: NDArray[np.float64]  # (2, 3) frame px -> crop px
    crop: NDArray[np.float32]  # (R, R, 3)
    hull: NDArray[np.float32]  # (R, R) landmark hull, including the part of the forehead that is replaced
    outline: NDArray[np.float32]  # (R, R) the whole face
    eyes: float  # px, row of the outer eye corners
    sight: Future[Sight] | None = None  # where the face is visible; None if that is not asked
    visible: NDArray[np.float32] | None = None  # (R, R) the same for this crop, steadied along the track


def merge_frames(
    frames: Iterable[Frame],
    face_of: Callable[[int], Face | str],
    predictor: Predictor | None,
    options: MergeOptions,
) -> Iterator[Merged]:
    """Replace the performer's face in each frame, in order.

    Args:
        frames: the target's frames, usually a `media.Reader`, which decodes in a thread of its own.
        face_of: from a frame index to the performer's face, or to the reason why there is none.
        predictor: the trained network, which predicts `options.subject`; None leaves all frames unchanged.
        options: mask, colour transfer and other settings of the compositing.

    Raises:
        RunError: a predicted face has values that are not finite.
    """
    with ThreadPoolExecutor(COMPOSITORS, thread_name_prefix="composite") as pool:
        waiting: deque[Future[Merged]] = deque()
        steadier = Steadier()
        for batch in _batches(frames, face_of, predictor, options, pool):
            jobs = [job for _, job in batch if isinstance(job, _Job)]
            predictions = iter(()) if predictor is None or not jobs else _predict(jobs, predictor, options)
            # The previous batch was composited while this one was predicted.
            while waiting:
                yield waiting.popleft().result()
            for frame, job in batch:
                prediction = next(predictions) if isinstance(job, _Job) else None
                if isinstance(job, _Job) and job.sight is not None:
                    sight = steadier.step(job.sight.result())
                    job = replace(job, visible=visible(sight, job.matrix, len(job.crop)))
                waiting.append(pool.submit(_finish, frame, job, prediction, options))
        while waiting:
            yield waiting.popleft().result()


def _batches(
    frames: Iterable[Frame],
    face_of: Callable[[int], Face | str],
    predictor: Predictor | None,
    options: MergeOptions,
    pool: ThreadPoolExecutor,
) -> Iterator[list[tuple[Frame, _Job | str]]]:
    """Up to `BATCH` frames, ending at its multiples, each with its crop or the reason for none."""
    batch: list[tuple[Frame, _Job | str]] = []
    for frame in frames:
        face = face_of(frame.index)
        if predictor is None:
            batch.append((frame, face if isinstance(face, str) else "no trained run was given"))
        else:
            batch.append((frame, face if isinstance(face, str) else _crop(frame, face, predictor, options, pool)))
        # Batches end at fixed frame numbers, so that a resumed merge forms the same batches as an uninterrupted one:
        # the rounding in a network depends on the batch size.
        if len(batch) == BATCH or frame.index % BATCH == BATCH - 1:
            yield batch
            batch = []
    if batch:
        yield batch


def _crop(frame: Frame, face: Face, predictor: Predictor, options: MergeOptions, pool: ThreadPoolExecutor) -> _Job:
    matrix = crop_matrix(face.alignment, predictor.coverage, predictor.size)
    crop = frame.warp(matrix, (predictor.size, predictor.size))  # (R, R, 3)
    landmarks = face.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]  # (478, 2) crop px
    hull, outline = (
        hull_mask(landmarks, predictor.size, forehead).astype(np.float32) / np.float32(255)
        for forehead in (options.mask_forehead, 1.0)
    )
    eyes = float(landmarks[[33, 263], 1].mean())
    sight = pool.submit(look, frame, face, predictor.coverage) if options.masks == "segmentation" else None
    return _Job(frame.index, matrix, crop, hull, outline, eyes, sight)


def _predict(
    jobs: list[_Job], predictor: Predictor, options: MergeOptions
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    faces = torch.from_numpy(np.stack([job.crop for job in jobs])).permute(0, 3, 1, 2)  # (B, 3, R, R)
    rgb, mask = predictor.predict(faces, options.subject, options.morph)
    is_finite = rgb.isfinite().flatten(1).all(1) & mask.isfinite().flatten(1).all(1)  # (B,)
    if not is_finite.all():
        frame = jobs[int(is_finite.int().argmin())].frame
        raise RunError(
            f"{predictor.path}: predicts values that are not finite numbers in frame {frame}; return to an earlier "
            "checkpoint with `visagist rewind`, or use --device cpu"
        )
    return iter(zip(rgb.permute(0, 2, 3, 1).contiguous().numpy(), mask[:, 0].contiguous().numpy(), strict=True))


def _finish(
    frame: Frame,
    job: _Job | str,
    prediction: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    options: MergeOptions,
) -> Merged:
    if isinstance(job, str) or prediction is None:
        return Merged(frame, frame, str(job), np.zeros((0, 0), np.float32), None)
    face, learned = prediction
    mask = MASKS[options.mask](MaskInput(job.hull, learned, face, job.crop, options.mask_erode))
    mask = feather(mask, options.mask_feather)
    if job.visible is not None:
        mask = mask * job.visible
    matched = COLOR[options.color](face, job.crop, mask)
    mask = without_strays(mask, matched, job.crop, job.outline, job.eyes)
    changed, weight, region = composite(frame, matched, mask, job.matrix)
    reason = None if region is not None else "the face lies outside the picture"
    return Merged(changed, frame, reason, weight, region)
