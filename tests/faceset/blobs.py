"""Small synthetic facesets that are fast to write."""

from pathlib import Path

import cv2
import numpy as np

from visagist.faces import crop_matrix, invert, mean_mesh, transform_landmarks
from visagist.faceset import Record, write_crop


def write_faceset(folder: Path, seed: int, count: int) -> Path:
    """Write crops with coloured blobs at the features of the mean face."""
    generator = np.random.default_rng(seed)
    size, embedding = 96, generator.normal(size=128)
    matrix = crop_matrix(np.eye(2, 3), "head", size)
    color = generator.uniform(40, 220, (size, size, 3))
    landmarks = transform_landmarks(matrix, mean_mesh())
    folder.mkdir()
    for frame in range(count):
        picture = cv2.GaussianBlur(color + generator.normal(0, 30, color.shape), (0, 0), 4)
        record = Record(
            footage_sha256=f"{seed:064x}",
            frame=frame,
            time=str(frame),
            track=0,
            size=size,
            matrix=np.eye(2, 3).tolist(),
            alignment=invert(matrix).tolist(),
            landmarks=landmarks.tolist(),
            pose=[float(frame), 0.0, 0.0],
            score=10.0,
            sharpness=0.5,
            width=40.0,
            blendshapes=[0.0] * 52,
            embedding=(embedding / np.linalg.norm(embedding)).tolist(),
        )
        write_crop(folder / f"{frame:03d}.png", np.clip(picture, 0, 255).astype(np.uint8), record)
    return folder
