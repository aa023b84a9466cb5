"""Evaluation data with known results, made from the bundled clips: a real target with deliberate defects."""

import functools
from dataclasses import replace

import cv2
import numpy as np

from visagist.demo import SOURCE, TARGET
from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.faces import (
    align,
    crop_matrix,
    detect_faces,
    find_best_landmarks,
    follow_landmarks,
    hull_mask,
    smooth_alignments,
    transform,
    transform_landmarks,
)
from visagist.faces.detection import Detection
from visagist.media import Frame, Reader

FRAMES = 12
SIZE = 192  # px, about the size of the clips' faces


def frames_of(path: object, last: int) -> list[Frame]:
    with Reader(path, last=last) as reader:  # type: ignore[arg-type]
        return list(reader)


def followed(frames: list[Frame]) -> list[np.ndarray]:
    """Landmarks `(478, 3)` of the one face in each frame."""
    small, scale = frames[0].thumbnail(640)
    found = detect_faces(small, threshold=0.5, min_size=20)[0]
    placed = Detection((found.box + 0.5) / scale - 0.5, found.score, (found.points + 0.5) / scale - 0.5)
    landmarks = [find_best_landmarks(frames[0], placed).landmarks]
    for frame in frames[1:]:
        landmarks.append(follow_landmarks(frame, landmarks[-1]).landmarks)
    return landmarks


def crop_of(frame: Frame, matrix: np.ndarray, size: int = SIZE) -> np.ndarray:
    return np.round(frame.warp(matrix, (size, size)) * 255).astype(np.uint8)


@functools.cache
def target_frames() -> tuple[tuple[Frame, ...], tuple[np.ndarray, ...]]:
    """The target's first frames with the landmarks in each."""
    frames = frames_of(TARGET, FRAMES - 1)
    return tuple(frames), tuple(followed(frames))


@functools.cache
def real_data() -> EvaluationData:
    """The target compared with itself, so every ratio is 1. The source is the other speaker; masks have a soft edge."""
    frames, landmarks = target_frames()
    times = np.array([float(frame.time) for frame in frames])
    smooth = smooth_alignments(times, np.stack([align(points) for points in landmarks]), np.full(FRAMES, 10.0))
    matrices = np.stack([crop_matrix(matrix, "whole", SIZE) for matrix in smooth])
    in_crop = [transform(matrix, points[:, :2]) for matrix, points in zip(matrices, landmarks, strict=True)]
    seen = seen_as(
        "target",
        np.stack([crop_of(frame, matrix) for frame, matrix in zip(frames, matrices, strict=True)]),
        np.stack(landmarks),
    )
    return EvaluationData(
        frames=np.arange(FRAMES),
        times=times,
        follows=np.arange(FRAMES) > 0,
        matrices=matrices,
        masks=np.stack([soft(hull_mask(points, SIZE, 0.3)) for points in in_crop]),
        hulls=np.stack([hull_mask(points, SIZE) for points in in_crop]),
        is_swapped=np.ones(FRAMES, bool),
        target=seen,
        evaluated=seen,
        source=real_source(),
        impostors=np.zeros((2, 128), np.float32),
    )


def real_source() -> Source:
    frames = frames_of(sorted(SOURCE.glob("*.mpg"))[0], 7)
    crops, hulls, points = [], [], []
    for frame, landmarks in zip(frames, followed(frames), strict=True):
        matrix = crop_matrix(align(landmarks), "whole", SIZE)
        crops.append(crop_of(frame, matrix))
        points.append(transform_landmarks(matrix, landmarks))
        hulls.append(hull_mask(points[-1], SIZE))
    count = len(frames)
    unknown = np.repeat(np.eye(1, 128, dtype=np.float32), count, 0)
    return Source(
        np.stack(crops), np.stack(hulls), np.stack(points), np.zeros((count, 3), np.float32), unknown, unknown
    )


def seen_as(name: str, crops: np.ndarray, landmarks: np.ndarray, outside: np.ndarray | None = None) -> FaceObservations:
    """Observations of which only pictures and landmarks matter."""

    def unknown(*shape: int) -> np.ndarray:
        return np.full((len(crops), *shape), np.nan, np.float32)

    scores = np.full(len(crops), 10, np.float32)
    outside = np.full(len(crops), np.inf) if outside is None else outside
    return FaceObservations(
        name, crops, landmarks, scores, unknown(3), unknown(52), unknown(128), unknown(128), outside
    )


def soft(mask: np.ndarray) -> np.ndarray:
    """A mask with a soft edge of about 5 px, as in merges."""
    return cv2.GaussianBlur(cv2.erode(mask, np.ones((5, 5), np.uint8)), (0, 0), 1.3)


def hard(masks: np.ndarray) -> np.ndarray:
    return np.where(masks > 127, 255, 0).astype(np.uint8)


def evaluating(data: EvaluationData, pictures: np.ndarray, masks: np.ndarray | None = None) -> EvaluationData:
    """Evaluates `pictures` `(N, S, S, 3)`, 0..255, composited with `masks`, by default those of the data."""
    weight = (data.masks if masks is None else masks)[..., None] / 255
    shown = data.target.crops * (1 - weight) + pictures * weight
    crops = np.clip(np.round(shown), 0, 255).astype(np.uint8)
    return replace(data, evaluated=seen_as("evaluated", crops, data.target.landmarks))


def blurred(pictures: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures])


def brightness_flicker(data: EvaluationData, part: float) -> np.ndarray:
    """The target, with every other frame brighter by the fraction `part`."""
    gains = 1 + part * (np.arange(len(data.frames)) % 2 - 0.5)
    return data.target.crops * gains[:, None, None, None]


def moved(pictures: np.ndarray, pixels: int) -> np.ndarray:
    """Shifted to the right."""
    return np.roll(pictures, pixels, 2)


def noised(pictures: np.ndarray, sigma: float) -> np.ndarray:
    return pictures + np.random.default_rng(0).normal(0, sigma, pictures.shape)
