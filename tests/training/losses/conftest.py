"""Pictures to compare, predictions made of them, and real faces."""

from dataclasses import fields, replace
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from visagist.demo import SOURCE, TARGET
from visagist.faces import Face, describe
from visagist.media import Frame, Reader
from visagist.training.losses import FacePrediction, SwapPrediction
from visagist.training.losses.pixels import pixel_weights

Prediction = TypeVar("Prediction", FacePrediction, SwapPrediction)


def pictures(size: int, count: int = 2, seed: int = 0, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Soft blobs, and the same with noise, `(B, 3, size, size)`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 3, 8, 8, generator=generator)
    x = torch.nn.functional.interpolate(x, size=size, mode="bilinear")
    return x, (x + noise * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def disc(size: int, count: int = 2) -> Tensor:
    """A hull `(B, 1, size, size)` with a soft rim."""
    line = (torch.arange(size) + 0.5) / size - 0.5
    distance = (line[:, None] ** 2 + line**2).sqrt()
    return ((0.35 - distance) * size / 2).clamp(0, 1).expand(count, 1, -1, -1)


def face_prediction(size: int = 48, count: int = 3) -> FacePrediction:
    """Noisy predictions with random masks."""
    truth, rgb = pictures(size, count)
    mask, importance = torch.rand(2, count, 1, size, size, generator=torch.Generator().manual_seed(1))
    hull = disc(size, count)
    return FacePrediction(rgb, mask, truth, hull, pixel_weights(hull, importance, 0.05, 8.0, masked=True))


def swap_prediction(size: int = 48, count: int = 3) -> SwapPrediction:
    """Predictions of other faces than the target's."""
    target, _ = pictures(size, count)
    before, rgb = pictures(size, count, seed=1)
    centroid = torch.randn(128, generator=torch.Generator().manual_seed(1))
    return SwapPrediction(rgb, target, disc(size, count), before, centroid, "full")


def chosen(prediction: Prediction, rows: list[int]) -> Prediction:
    """Some of the faces of a prediction."""
    planes = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    per_face = {name: each[rows] for name, each in planes.items() if isinstance(each, Tensor) and each.ndim == 4}
    return replace(prediction, **per_face)


@pytest.fixture(scope="session")
def real_faces() -> list[tuple[Frame, Face]]:
    """Faces of both bundled speakers: two frames of the source, two of the target."""
    found: list[tuple[Frame, Face]] = []
    for path in (sorted(SOURCE.glob("*.mpg"))[0], TARGET):
        with Reader(path, last=40) as reader:
            frames = list(reader)
        found += [(frames[i], describe(frames[i])[0]) for i in (5, 40)]
    return found
