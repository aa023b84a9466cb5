"""Runs the detectors on crops of the target, the render, the baselines and the source.

All are detected in the same crop, starting from the box of the target's landmarks, so that observations differ only by
the content of the pictures.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.embedder import embed_independent
from visagist.evaluation.evaluation_data import FaceObservations, Source
from visagist.faces import blendshapes, crop_matrix, embed, find_landmarks, head_pose, hull_mask, transform_landmarks
from visagist.faceset import Faceset, read_crop
from visagist.media import Frame, frame_from_rgb

WORKERS = 2
COVERAGE = "whole"
SOURCE_FACES = 64
MIN_SOURCE_FACES = 4
MIN_MESH_SCORE = 0.0


def observe_faces(
    name: str,
    crops: NDArray[np.uint8],
    to_frame: NDArray[np.float64],
    expected: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    embeds: bool,
    on_progress: Callable[[int], None],
) -> FaceObservations:
    """Run the detectors on crops.

    Args:
        name: name of the observations.
        crops: `(N, S, S, 3)` RGB.
        to_frame: `(N, 2, 3)` crop px to frame px.
        expected: `(N, 478, 2)` crop px, the target's landmarks, near which the face is expected.
        outside: as in `FaceObservations`.
        embeds: whether to compute embeddings; if not, they are NaN.
        on_progress: called with the number of crops done.
    """

    def unknown(*shape: int) -> NDArray[np.float32]:
        return np.full((len(crops), *shape), np.nan, np.float32)

    landmarks, scores, poses, shapes = unknown(478, 3), unknown(), unknown(3), unknown(52)
    independent, sface = unknown(128), unknown(128)

    def see(i: int) -> None:
        frame = frame_from_rgb(np.ascontiguousarray(crops[i]))
        box = np.concatenate([expected[i].min(0), expected[i].max(0)]).astype(np.float32)
        mesh = find_landmarks(frame, box, roll=0.0)  # crops are level already
        scores[i] = mesh.score
        if mesh.score < MIN_MESH_SCORE:
            return
        landmarks[i] = transform_landmarks(to_frame[i], mesh.landmarks)
        poses[i] = head_pose(landmarks[i])
        shapes[i] = blendshapes(landmarks[i], float(poses[i, 2]))
        if embeds:
            independent[i] = embed_independent(frame, mesh.landmarks)
            sface[i] = embed(frame, mesh.landmarks)

    _in_parallel(see, len(crops), on_progress)
    return FaceObservations(name, crops, landmarks, scores, poses, shapes, independent, sface, outside)


def observe_source(faceset: Faceset, size: int, on_progress: Callable[[int], None]) -> Source:
    """Sample real faces of the source evenly over the faceset.

    Args:
        faceset: faceset of the source.
        size: side of the crops, px.
        on_progress: called with the number of faces done.

    Raises:
        EvaluationError: the faceset has fewer than four faces.
        FacesetError: a crop is damaged.
    """
    if len(faceset) < MIN_SOURCE_FACES:
        raise EvaluationError(
            f"{faceset.path}: too few faces of the source to compare with ({len(faceset)}, at least "
            f"{MIN_SOURCE_FACES} needed)"
        )
    chosen = np.unique(np.linspace(0, len(faceset) - 1, SOURCE_FACES).round().astype(int))
    count = len(chosen)
    crops, hulls = np.empty((count, size, size, 3), np.uint8), np.empty((count, size, size), np.uint8)
    landmarks, poses = np.empty((count, 478, 3), np.float32), np.empty((count, 3), np.float32)
    independent, sface = np.empty((count, 128), np.float32), np.empty((count, 128), np.float32)

    def see(i: int) -> None:
        record, pixels = read_crop(faceset.files[chosen[i]])
        frame = frame_from_rgb(pixels)
        matrix = crop_matrix(np.array(record.alignment), COVERAGE, size)
        crops[i] = crop_of(frame, matrix, size)
        points = np.array(record.landmarks, np.float32)
        landmarks[i] = transform_landmarks(matrix, points)
        hulls[i] = hull_mask(landmarks[i], size)
        poses[i] = record.pose
        independent[i], sface[i] = embed_independent(frame, points), embed(frame, points)

    _in_parallel(see, count, on_progress)
    return Source(crops, hulls, landmarks, poses, independent, sface)


def crop_of(frame: Frame, matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """`(size, size, 3)` RGB crop of a frame; `matrix` is `(2, 3)`, frame px to crop px."""
    return cv2.convertScaleAbs(frame.warp(matrix, (size, size)), alpha=255).astype(np.uint8, copy=False)


def _in_parallel(work: Callable[[int], None], count: int, on_progress: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(WORKERS, "observe") as pool:
        for done, _ in enumerate(pool.map(work, range(count)), 1):
            on_progress(done)
