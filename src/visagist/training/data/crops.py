"""Crops of one identity in memory, as plain arrays."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import FacesetError
from visagist.core.types import Coverage
from visagist.faceset import Faceset, is_alone

MIN_CROPS = 8


@dataclass(frozen=True)
class Crops:
    """Crops of one identity, or of many in a pool for pretraining.

    Raises:
        FacesetError: too few crops, or arrays that do not fit together.
    """

    images: NDArray[np.uint8]  # (N, S, S, 3) RGB; the network's faces plus a margin
    hulls: NDArray[np.uint8]  # (N, S, S), 255 inside the landmark hull
    footage: tuple[str, ...] = ()  # SHA-256 of each footage file
    centroid: tuple[float, ...] = ()  # (128,) mean embedding, or empty
    name: str = "crops"  # for messages
    features: NDArray[np.uint8] | None = None  # (N, S, S), 255 at eyes and mouth
    is_alone: bool | None = None  # whether the footage shows only this subject
    yaws: NDArray[np.float32] | None = None  # (N,) degrees
    landmarks: NDArray[np.float32] | None = None  # (N, 478, 2) in crop widths
    people: int = 1  # number of identities
    validation: int | None = None  # number of crops held out at the end; None for the fraction in the options

    def __post_init__(self) -> None:
        n, side, *_ = self.images.shape
        if n < MIN_CROPS:
            raise FacesetError(
                f"{self.name}: {n} crops are too few to train on; the minimum is {MIN_CROPS}, 300 are recommended"
            )
        plane = (n, side, side)
        shapes = {"images": (*plane, 3), "hulls": plane, "features": plane, "yaws": (n,), "landmarks": (n, 478, 2)}
        for name, expected in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != expected:
                raise FacesetError(f"{self.name}: {name} of {n} crops of {side} px are {array.shape}, not {expected}")
        if self.validation is not None and not 0 < self.validation < n:
            raise FacesetError(
                f"{self.name}: {self.validation} of {n} crops cannot be held out for validation; 1 to {n - 1} can"
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all pixels, and of `validation` if given."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.hulls).data)
        if self.validation is not None:
            digest.update(str(self.validation).encode())
        return digest.hexdigest()


def load_crops(folder: Path, coverage: Coverage, size: int, margin: float) -> Crops:
    """Load a faceset's crops for a network of `size` px faces, with a side of `size * margin`.

    Raises:
        FacesetError: the folder is not a faceset, a crop cannot be read, or there are too few.
    """
    faceset = Faceset.open(folder)
    crops = crops_of(faceset, coverage, size, margin)  # raises if there are too few for a mean embedding
    return replace(crops, is_alone=is_alone(faceset), centroid=tuple(faceset.centroid().tolist()))


def crops_of(faceset: Faceset, coverage: Coverage, size: int, margin: float) -> Crops:
    """Load the crops of a faceset that may show many identities, without a mean embedding.

    Raises:
        FacesetError: a crop cannot be read, or there are too few.
    """
    images, hulls, features, points = faceset.load(coverage, size, margin)
    poses = [record.pose for record in faceset.records]
    yaws = np.array([yaw for yaw, *_ in poses], np.float32) if all(poses) else None
    landmarks, name = points[..., :2], str(faceset.path)
    return Crops(images, hulls, faceset.footage_hashes, name=name, features=features, yaws=yaws, landmarks=landmarks)
