"""Pictures to compare, and real faces."""

import numpy as np
import pytest
import torch
from torch import Tensor

from visagist.demo import SOURCE, TARGET
from visagist.faces import Face, describe
from visagist.media import Frame, Reader


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


@pytest.fixture(scope="session")
def real_faces() -> list[tuple[Frame, Face]]:
    """Faces of both bundled speakers: two frames of the source, two of the target."""
    found: list[tuple[Frame, Face]] = []
    for path in (sorted(SOURCE.glob("*.mpg"))[0], TARGET):
        with Reader(path, last=40) as reader:
            frames = list(reader)
        found += [(frames[i], describe(frames[i])[0]) for i in (5, 40)]
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
