"""Aligned crops and segmentation targets from the developers' faces and footage (../shared).

A target is derived from the landmark hull with its forehead, a hair model and a person model. None of them knows hands
or objects: pictures in which something covers a face are left out, and occluders are composited later (`occluders`).
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from visagist.faces import Face, crop_matrix, crop_side, describe, hull_mask, person_mask, transform
from visagist.media import Frame, Reader, probe

SHARED = Path(__file__).parents[3] / "shared"
SIDE, MARGIN = 448, 1.3  # px and relative to the head's square: 63 px per interpupillary distance
MIN_SCORE = 8.0  # of the landmarks
HAIR_SIDE = 512
MIN_HAIR_ABOVE = 0.6  # mean probability of hair above the forehead

# The score is taken on other people: the woman of footage/occlusion_turns_woman, the female signer of lowres_asl, the
# speaker of grid_others/sbia1a, and these portraits, with glasses or head coverings.
HELD_OUT = ("female_69", "male_95", "female_43", "female_24", "male_15")
# Scarves and furs taken for hair, hands at the face, and a profile whose hull misses the face.
UNSUITABLE = (
    *("female_09", "female_14", "female_21", "female_30", "female_54", "female_56", "female_64", "female_66"),
    *("female_73", "female_82", "female_94", "female_98", "male_29"),
)
FOREHEAD = 1.5  # of the hull where hair is above it, see `hull_mask`
FRAMES = {  # videos relative to `SHARED`, and the number of frames to take from each
    "footage/id_C_grid_s1/*.mpg": 6,
    "footage/grid_others/brbk7n.mpg": 20,
    "footage/grid_others/lbbc2a.mpg": 20,
    "footage/grid_others/sbwe5n.mpg": 20,
    "faces/grid_more/*.mpg": 10,
    "footage/id_A_man_kitchen/A_1080x1920_hevc.mp4": 60,
    "footage/id_B_woman_garden/B_1080x1920_hevc.mp4": 50,
}
STILLS = ("faces/synthetic_portraits/*.jpg", "faces/london_canada/*.jpg")


@dataclass(frozen=True)
class Sample:
    """A crop of one face with its target.

    Attributes:
        name: of the file, with the frame's number.
        image: `(SIDE, SIDE, 3)` uint8 RGB.
        face, hair: `(SIDE, SIDE)` uint8 probabilities; their sum is at most 255.
        person: `(SIDE, SIDE)` uint8 probability of any part of the person.
        known: `(SIDE, SIDE)` uint8, 0 where the target is unknown: outside the picture, and above a bald forehead.
        landmarks: `(478, 2)` float32, crop px.
        native: px of the frame per px of the crop; below 1 the crop is enlarged.
    """

    name: str
    image: NDArray[np.uint8]
    face: NDArray[np.uint8]
    hair: NDArray[np.uint8]
    person: NDArray[np.uint8]
    known: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    native: float


def samples() -> Iterator[Sample]:
    """All training samples."""
    for pattern, count in FRAMES.items():
        for path in sorted(SHARED.glob(pattern)):
            footage = probe(path)
            every = max(1, (footage.frames or 75) // count)
            with Reader(footage) as frames:
                for frame in frames:
                    if frame.index % every == every // 2:
                        yield from sample(frame, f"{path.stem}-{frame.index}")
    for pattern in STILLS:
        for path in sorted(SHARED.glob(pattern)):
            if path.stem not in (*HELD_OUT, *UNSUITABLE):
                with Reader(probe(path)) as frames:
                    for frame in frames:
                        yield from sample(frame, path.stem)


def sample(frame: Frame, name: str) -> Iterator[Sample]:
    """The largest face of a frame, unless it is uncertain."""
    found = [face for face in describe(frame) if face.score > MIN_SCORE]
    if found:
        yield crop(frame, max(found, key=lambda face: float(face.box[2] - face.box[0])), name)


def crop(frame: Frame, face: Face, name: str) -> Sample:
    """A face with the target that the three models give."""
    matrix = crop_matrix(face.alignment, "head", SIDE, MARGIN)
    picture = frame.warp(matrix, (SIDE, SIDE)).astype(np.float32)
    landmarks = transform(matrix, face.landmarks[:, :2]).astype(np.float32)
    person, hair = person_mask(picture), hair_mask(picture)
    hull, tall, above = (
        hull_mask(landmarks, SIDE, forehead).astype(np.float32) / 255 for forehead in (1.0, FOREHEAD, FOREHEAD + 0.25)
    )
    known = cv2.warpAffine(
        np.full((frame.height, frame.width), 255, np.uint8), matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST
    )
    strip = (above - tall) > 0.5
    if strip.any() and hair[strip].mean() > MIN_HAIR_ABOVE:  # the hairline ends the forehead
        hull = tall
    else:
        known[(tall - hull) > 0.02] = 0
    skin = hull * (1 - hair)
    return Sample(
        name=name,
        image=to_bytes(picture),
        face=to_bytes(skin),
        hair=to_bytes(np.minimum(hair, 1 - skin)),
        person=to_bytes(np.maximum(person, np.maximum(skin, hair))),
        known=known,
        landmarks=landmarks,
        native=float(crop_side(face.alignment, "head")) * MARGIN / SIDE,
    )


def hair_mask(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of hair, `(h, w)`, from `(h, w, 3)` RGB in [0, 1]."""
    height, width = picture.shape[:2]
    planes = np.zeros((1, 4, HAIR_SIDE, HAIR_SIDE), np.float32)
    planes[0, :3] = cv2.resize(picture, (HAIR_SIDE, HAIR_SIDE), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    (logits,) = _hair_model().run(None, {"image_mask": planes})
    logit = np.asarray(logits[0, 1] - logits[0, 0], np.float32)
    return cv2.resize(1 / (1 + np.exp(-logit)), (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)


@functools.cache
def _hair_model() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SHARED / "models/hair512.onnx", providers=["CPUExecutionProvider"])


def to_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values in [0, 1] as 0 to 255."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def save(found: list[Sample], path: Path) -> None:
    """Save samples to an .npz file."""
    columns = {field.name: np.stack([getattr(each, field.name) for each in found]) for field in fields(Sample)}
    np.savez(path, **columns)


def load(path: Path) -> list[Sample]:
    """Samples saved by `save`."""
    with np.load(path, allow_pickle=False) as columns:
        arrays = [columns[field.name] for field in fields(Sample)]
    return [Sample(str(name), *rest, float(native)) for name, *rest, native in zip(*arrays, strict=True)]
