"""Two people of coloured blobs, and a network small enough to train in a second."""

from collections.abc import Callable

import numpy as np
import pytest

from visagist.training import Crops, TrainOptions

SIZE, MARGIN = 32, 1.25


def people(seed: int, count: int = 24, size: int = SIZE) -> Crops:
    """Blobs that move a little from crop to crop, in colours of their own; the hull is a disc."""
    generator = np.random.default_rng(seed)
    side = int(size * MARGIN)
    y, x = np.mgrid[:side, :side] / side
    color = generator.uniform(0.2, 0.8, (3, 3))
    images = []
    for _ in range(count):
        centres = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.7]]) + generator.normal(0, 0.03, (3, 2))
        blobs = [
            np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.01)[..., None] * c
            for (cx, cy), c in zip(centres, color, strict=True)
        ]
        images.append((np.clip(0.3 + np.sum(blobs, 0), 0, 1) * 255).astype(np.uint8))
    disc = (((x - 0.5) ** 2 + (y - 0.5) ** 2) < 0.12).astype(np.uint8) * 255
    centroid = tuple(float(v) for v in generator.normal(size=128))
    return Crops(np.stack(images), np.repeat(disc[None], count, 0), (f"{seed:064x}",), centroid, f"person {seed}")


@pytest.fixture(scope="session")
def source() -> Crops:
    return people(1)


@pytest.fixture(scope="session")
def target() -> Crops:
    return people(2)


def small_options(**changes: object) -> TrainOptions:
    """Options of a small training; give what should differ."""
    settings = {"size": SIZE, "encoder": [8, 16, 16], "latent": 16, "shared": 8, "decoder": [16, 16, 8, 8]}
    base: dict[str, object] = {
        "model": "quick",
        "settings": settings,
        "batch": 4,
        "iterations": 12,
        "save_every": 4,
        "preview_every": 6,
        "margin": MARGIN,
        "device": "cpu",
        "held_out": 0.2,
    }
    if "minutes" in changes:
        del base["iterations"]
    return TrainOptions.model_validate({**base, **changes})


@pytest.fixture(scope="session")
def options() -> Callable[..., TrainOptions]:
    """`small_options`."""
    return small_options
