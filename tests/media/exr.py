"""Small OpenEXR pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR


def scene(width: int, height: int, seed: int = 0, dtype: type = np.float16) -> np.ndarray:
    """Random scene-linear RGB from below 0 to far above 1, `(h, w, 3)`."""
    generator = np.random.default_rng(seed)
    return (generator.normal(0.4, 0.3, (height, width, 3)) * generator.choice([1, 1, 1, 9], (height, width, 1))).astype(
        dtype
    )


def write_exr_file(path: Path, rgb: np.ndarray, *, others: dict[str, np.ndarray] | None = None, **header: Any) -> Path:
    """Write a single-part file of `(h, w, 3)` RGB, with other channels and header attributes."""
    channels = {name: np.ascontiguousarray(rgb[:, :, i]) for i, name in enumerate("RGB")} | (others or {})
    stated = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File(stated, channels).write(str(path))
    return path


def read_exr_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and channels of the first part."""
    part = OpenEXR.File(str(path), separate_channels=True).parts[0]
    return part.header, {name: channel.pixels for name, channel in part.channels.items()}


def read_rgb(path: Path) -> np.ndarray:
    """`(h, w, 3)` as stored."""
    channels = read_exr_file(path)[1]
    return np.stack([channels[name] for name in "RGB"], axis=2)
