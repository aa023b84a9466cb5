"""Converts a synthetic bench to the input of the metrics.

Target and source go through the public analysis and extraction; the swaps are cropped and observed as in
`visagist evaluate`, but with the true mask.
"""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.cases import RATE, Bench
from visagist.evaluation import EvaluationData, FaceObservations
from visagist.evaluation.collect_frames import crop_size
from visagist.evaluation.impostors import impostors_for
from visagist.evaluation.metrics.background import outside_psnr
from visagist.evaluation.observe import COVERAGE, crop_of, observe_faces, observe_source
from visagist.faces import Face, analyze, crop_matrix, hull_mask, invert, transform
from visagist.jobs.extract import ExtractOptions, extract
from visagist.media import find_footage, frame_from_rgb, write_picture


def judge(bench: Bench, folder: Path) -> tuple[EvaluationData, dict[str, FaceObservations]]:
    """Evaluation data of a bench, and the observations of each of its swaps.

    Args:
        bench: the bench.
        folder: an empty folder for intermediate files.

    Returns:
        Data that evaluates the perfect swap; observations by the names of the swaps.
    """
    (target,) = find_footage(_written(bench.target.frames, folder / "target"), rate=Fraction(RATE))
    table = analyze(target, folder / "target.parquet")
    faces: list[Face] = [max(table.faces_of(i), key=lambda face: face.width) for i in range(len(bench.target.frames))]
    size = crop_size(faces)
    (footage,) = find_footage(_written(bench.source.frames, folder / "source"), rate=Fraction(RATE))
    faceset = extract(footage, folder / "faceset", options=ExtractOptions(format="png"))
    source = observe_source(faceset, size, _silent)
    matrices = np.stack([crop_matrix(face.alignment, COVERAGE, size) for face in faces])
    expected = np.stack([transform(m, f.landmarks[:, :2].astype(float)) for m, f in zip(matrices, faces, strict=True)])
    appearances = {
        name: _appearance(name, frames, bench, faces, matrices, expected) for name, frames in bench.swaps.items()
    }
    seen = appearances["unswapped"]
    masks = [
        cv2.warpAffine(mask, matrix, (size, size)) for mask, matrix in zip(bench.perfect.masks, matrices, strict=True)
    ]
    count = len(faces)
    data = EvaluationData(
        frames=np.arange(count),
        times=np.arange(count) / RATE,
        follows=np.arange(count) > 0,
        matrices=matrices,
        masks=np.stack(masks).astype(np.uint8),
        hulls=np.stack([hull_mask(points, size) for points in expected]),
        is_swapped=np.ones(count, bool),
        target=seen,
        evaluated=appearances["perfect"],
        source=source,
        impostors=impostors_for(source, seen),
    )
    return data, appearances


def _appearance(
    name: str,
    frames: NDArray[np.uint8],
    bench: Bench,
    faces: list[Face],
    matrices: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> FaceObservations:
    shown = [frame_from_rgb(frame) for frame in frames]
    size = crop_size(faces)
    crops = np.stack([crop_of(frame, matrix, size) for frame, matrix in zip(shown, matrices, strict=True)])
    before = [frame_from_rgb(frame) for frame in bench.target.frames]
    outside = [outside_psnr(a, b, face.landmarks) for a, b, face in zip(before, shown, faces, strict=True)]
    to_frame = np.stack([invert(matrix) for matrix in matrices])
    return observe_faces(name, crops, to_frame, expected, np.array(outside), embeds=True, on_progress=_silent)


def _written(frames: NDArray[np.uint8], folder: Path) -> Path:
    """The frames as a numbered sequence of PNG files."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        write_picture(folder / f"{i:05}.png", frame)
    return folder


def _silent(done: int) -> None:
    del done
