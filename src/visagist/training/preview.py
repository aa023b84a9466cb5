"""A sheet that shows how far a training is.

- `sheet`: source, its reconstruction, target, its reconstruction, swap, swap on the target, mask; a row a face
- `write_sheet`: as a PNG that goes through the signing function before it gets its name
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from visagist.errors import OutputError

Seal = Callable[[Path, Path], object]  # signs an unsigned file into its final place
Predict = Callable[[Tensor, str], tuple[Tensor, Tensor]]

COLUMNS = ("source", "source drawn", "target", "target drawn", "swap", "swap in target", "mask")
HEADER = 16  # px


def sheet(source: Tensor, target: Tensor, predict: Predict) -> NDArray[np.uint8]:
    """Rows of faces and what becomes of them.

    Args:
        source: `(B, 3, R, R)` RGB in [0, 1].
        target: the same shape.
        predict: what draws faces as an identity: `(rgb, mask)`.

    Returns:
        `(16 + B*R, 7*R, 3)` uint8 RGB, the first 16 lines a header.
    """
    source_drawn, _ = predict(source, "source")
    target_drawn, _ = predict(target, "target")
    swap, mask = predict(target, "source")
    placed = target + (swap - target) * mask
    columns = [source, source_drawn, target, target_drawn, swap, placed, mask.expand(-1, 3, -1, -1)]
    pixels = torch.stack([column.cpu().float().clamp(0, 1) for column in columns])  # (7, B, 3, R, R)
    rows = pixels.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # (B*R, 7*R, 3)
    body = (rows * 255).round().to(torch.uint8).numpy()
    header = Image.new("RGB", (body.shape[1], HEADER), "white")
    for i, name in enumerate(COLUMNS):
        ImageDraw.Draw(header).text((i * source.shape[-1] + 3, 2), name, fill="black")
    return np.concatenate([np.asarray(header), body])


def write_sheet(pixels: NDArray[np.uint8], output: Path, seal: Seal) -> None:
    """Write a sheet to `output`, signed; the unsigned file is private and goes again.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="visagist-") as private:
            unsigned = Path(private) / "sheet.png"
            Image.fromarray(pixels).save(unsigned)
            seal(unsigned, output)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written ({error.strerror}); choose another place or free some"
        ) from error
