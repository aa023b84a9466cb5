"""Crops of coloured blobs, a network that trains in a second, and ways to interrupt its training."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visagist.core.events import Event, Progress
from visagist.training import Crops, TrainOptions

SIZE, MARGIN = 32, 1.25


def blob_crops(seed: int, count: int = 24, size: int = SIZE) -> Crops:
    """Blobs that move slightly from crop to crop, in colours that depend on the seed; the hull is a disc."""
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
    return blob_crops(1)


@pytest.fixture(scope="session")
def target() -> Crops:
    return blob_crops(2)


def small_options(**changes: object) -> TrainOptions:
    """Options of a small training with changes; None selects the default."""
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
        "schedule": {"warm_up": 1},
    }
    if "minutes" in changes:
        del base["iterations"]
    given = {name: value for name, value in {**base, **changes}.items() if value is not None}
    return TrainOptions.model_validate(given)


@pytest.fixture(scope="session")
def options() -> Callable[..., TrainOptions]:
    """The function `small_options`."""
    return small_options


@pytest.fixture(scope="session")
def crops(source: Crops, target: Crops) -> dict[str, Crops]:
    """Both identities without embeddings, which makes validation ten times as fast."""
    return {"source": replace(source, centroid=()), "target": replace(target, centroid=())}


def weights(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def contents(run: Path) -> dict[Path, bytes]:
    """All files of a run by name, except logs, locks and partial files."""
    found = (path for path in run.rglob("*") if path.is_file())
    kept = (
        path for path in found if path.suffix != ".lock" and path.name != "events.jsonl" and ".part" not in path.name
    )
    return {path.relative_to(run): path.read_bytes() for path in kept}


def ending(error: type[BaseException], *iterations: int) -> Callable[[Event], None]:
    """A callback that raises after these iterations: KeyboardInterrupt like Ctrl-C, other errors like a crash."""

    def end(event: Event) -> None:
        if isinstance(event, Progress) and event.done in iterations:
            raise error

    return end


class Killed(BaseException):
    """Stands in for SIGKILL; no code handles it."""


@contextmanager
def killed_before(change: int) -> Iterator[None]:
    """Allow `change` renames or deletions of files in the block, and raise `Killed` at the next."""
    left = change

    def limited(method: Callable[..., object]) -> Callable[..., object]:
        def act(*given: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return method(*given, **named)

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, limited(getattr(Path, name)))
        yield


def killed_at_each_change(begun: Path | None, folder: Path, act: Callable[[Path], object]) -> tuple[list[Path], Path]:
    """Run `act` on copies of a run, each killed before another change to a file.

    Args:
        begun: the run; None for a new one.
        folder: for the copies.
        act: changes a run.

    Returns:
        The killed copies, and the first copy that completed.
    """
    killed: list[Path] = []
    while True:
        run = folder / f"killed-before-{len(killed)}"
        if begun is not None:
            shutil.copytree(begun, run)
        try:
            with killed_before(len(killed)):
                act(run)
        except Killed:
            killed.append(run)
        else:
            return killed, run
