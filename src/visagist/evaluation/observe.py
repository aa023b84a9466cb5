"""The detectors' look at a row of crops.

- `look`: crops to an `Appearance`
- `look_at_source`: a faceset to a `Source`
- `crop_store`: a memory-mapped array for crops

Target, render and baselines are all looked at in the same crop, from the box of the target's landmarks, in two passes
of the mesh: what differs between two appearances is in the pictures and not in how they were looked at.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.embedder import embed_independent
from visagist.evaluation.evaluation_data import Appearance, Source
from visagist.faces import (
    blendshapes,
    crop_matrix,
    embed,
    find_landmarks,
    head_pose,
    hull_mask,
    transform_landmarks,
)
from visagist.faceset import Faceset, read_crop
from visagist.media import frame_from_rgb

WORKERS = 2
COVERAGE = "whole"
SAMPLES = 64  # real faces of the source
FOUND = 0.0  # least mesh score


def crop_store(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A writable uint8 array of `shape` in a file, so that crops of any number of frames fit."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def look(
    name: str,
    crops: NDArray[np.uint8],
    to_frame: NDArray[np.float64],
    expected: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    embeds: bool,
    told: Callable[[int], None],
) -> Appearance:
    """What the detectors see in crops.

    Args:
        name: of the appearance.
        crops: `(N, S, S, 3)` RGB.
        to_frame: `(N, 2, 3)` crop px to frame px.
        expected: `(N, 478, 2)` crop px, the target's landmarks: where the face is looked for.
        outside: see `Appearance`.
        embeds: whether to tell who it is; without, the embeddings are NaN.
        told: called with the number of crops done.
    """
    count = len(crops)
    landmarks = np.full((count, 478, 3), np.nan, np.float32)
    scores, poses = np.full(count, np.nan, np.float32), np.full((count, 3), np.nan, np.float32)
    shapes = np.full((count, 52), np.nan, np.float32)
    independent, sface = (np.full((count, 128), np.nan, np.float32) for _ in range(2))

    def see(i: int) -> None:
        frame = frame_from_rgb(np.ascontiguousarray(crops[i]))
        box = np.concatenate([expected[i].min(0), expected[i].max(0)]).astype(np.float32)
        mesh = find_landmarks(frame, box, roll=0.0)  # crops are level already
        scores[i] = mesh.score
        if mesh.score < FOUND:
            return
        landmarks[i] = transform_landmarks(to_frame[i], mesh.landmarks)
        poses[i] = head_pose(landmarks[i])
        shapes[i] = blendshapes(landmarks[i], float(poses[i, 2]))
        if embeds:
            independent[i] = embed_independent(frame, mesh.landmarks)
            sface[i] = embed(frame, mesh.landmarks)

    _in_parallel(see, count, told)
    return Appearance(name, crops, landmarks, scores, poses, shapes, independent, sface, outside)


def look_at_source(faceset: Faceset, size: int, told: Callable[[int], None]) -> Source:
    """Real faces of the source, spread evenly over the faceset.

    Args:
        faceset: of the source.
        size: px, side of the crops.
        told: called with the number of faces done.

    Raises:
        EvaluationError: it has fewer than four faces.
        FacesetError: a crop is damaged.
    """
    if len(faceset) < 4:
        raise EvaluationError(f"{faceset.path}: {len(faceset)} faces of the source are too few to judge by; give 4")
    chosen = np.unique(np.linspace(0, len(faceset) - 1, SAMPLES).round().astype(int))
    count = len(chosen)
    crops, hulls = np.empty((count, size, size, 3), np.uint8), np.empty((count, size, size), np.uint8)
    landmarks, poses = np.empty((count, 478, 3), np.float32), np.empty((count, 3), np.float32)
    independent, sface = (np.empty((count, 128), np.float32) for _ in range(2))

    def see(i: int) -> None:
        record, pixels = read_crop(faceset.files[chosen[i]])
        frame = frame_from_rgb(pixels)
        matrix = crop_matrix(np.array(record.alignment), COVERAGE, size)
        crops[i] = cv2.convertScaleAbs(frame.warp(matrix, (size, size)), alpha=255)
        points = np.array(record.landmarks, np.float32)
        landmarks[i] = transform_landmarks(matrix, points)
        hulls[i] = hull_mask(landmarks[i], size)
        poses[i] = record.pose
        independent[i], sface[i] = embed_independent(frame, points), embed(frame, points)

    _in_parallel(see, count, told)
    return Source(crops, hulls, landmarks, poses, independent, sface)


def crop_of(frame: Any, matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """`(size, size, 3)` RGB of a frame through `matrix` (2, 3)."""
    return cv2.convertScaleAbs(frame.warp(matrix, (size, size)), alpha=255).astype(np.uint8, copy=False)


def _in_parallel(work: Callable[[int], None], count: int, told: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(WORKERS, "look") as pool:
        for done, _ in enumerate(pool.map(work, range(count)), 1):
            told(done)
