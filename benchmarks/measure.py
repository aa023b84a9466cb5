"""Helpers shared by the benchmarks: footage, random crops, medians, peak memory, consent records."""

import datetime
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from visagist import new_consent
from visagist.training.data import Crops, IdentityDataset

SHARED = Path(__file__).parents[2] / "shared" / "footage"  # developers' footage; not in a user's clone


def random_crops(count: int, size: int) -> Crops:
    """Noise with a disc as hull, since speed does not depend on the images."""
    generator = np.random.default_rng(0)
    line = np.linspace(-1, 1, size)
    disc = (line[:, None] ** 2 + line**2 < 0.5).astype(np.uint8) * 255
    images = generator.integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    return Crops(images, np.repeat(disc[None], count, 0))


def random_datasets(size: int, device: torch.device) -> dict[str, IdentityDataset]:
    """Two identities with random crops of `size` px."""
    return {name: IdentityDataset(random_crops(64, size), 0.1, device) for name in ("source", "target")}


def peak_memory_gb() -> float:
    """Peak resident memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def report(what: str, rates: list[float], unit: str) -> None:
    """Print median, range and peak memory in one line."""
    ordered = sorted(rates)
    median = ordered[len(ordered) // 2]
    print(
        f"{what}: {median:.1f} {unit} (median of {len(ordered)}, {ordered[0]:.1f} to {ordered[-1]:.1f}), "
        f"peak memory {peak_memory_gb():.2f} GB",
        flush=True,
    )


def records(folder: Path, source: Path, target: Path) -> tuple[Path, Path]:
    """Consent records bound to the footage, as merge requires."""
    paths = folder / "source.toml", folder / "target.toml"
    for path, footage in zip(paths, (source, target), strict=True):
        if not path.is_file():
            new_consent(
                path,
                name=path.stem,
                adult=True,
                basis="research-corpus",
                statement="Released for such use as its SOURCES.md or NOTICE states; the render is only measured.",
                scope="benchmark",
                date=datetime.date(2026, 1, 1),
                pictures=[],
                footage=sorted(footage.glob("*.mpg")) if footage.is_dir() else [footage],
                document=None,
            )
    return paths
