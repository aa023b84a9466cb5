"""A sheet that shows how far a training is.

- `sheet`: faces, themselves drawn, and swapped; a row a face
- `write_sheet`: as a PNG that goes through the signing function before it gets its name
- `preview_path`: of an iteration's sheet
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from visagist.core.errors import OutputError

Sign = Callable[[Path, Path], object]  # signs an unsigned file into its final place
Predict = Callable[[Tensor, str], tuple[Tensor, Tensor]]

HEADER = 16  # px


def sheet(faces: Mapping[str, Tensor], predict: Predict) -> NDArray[np.uint8]:
    """Rows of faces and what becomes of them.

    Of two people a row shows both, each drawn as themselves, and the second one as the first: the swap, as it lies in
    the picture, and its mask. Of more, every person has rows of their own, drawn as everybody.

    Args:
        faces: `(B, 3, R, R)` RGB in [0, 1] of each person by name, the source first.
        predict: what draws faces as an identity: `(rgb, mask)`.

    Returns:
        `(16 + rows * R, columns * R, 3)` uint8 RGB, the first 16 lines a header.
    """
    columns = _of_two(faces, predict) if len(faces) == 2 else _of_many(faces, predict)
    pixels = torch.stack([column.cpu().float().clamp(0, 1) for column in columns.values()])  # (columns, B, 3, R, R)
    rows = pixels.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # (B * R, columns * R, 3)
    body = (rows * 255).round().to(torch.uint8).numpy()
    header = Image.new("RGB", (body.shape[1], HEADER), "white")
    for i, name in enumerate(columns):
        ImageDraw.Draw(header).text((i * pixels.shape[-1] + 3, 2), name, fill="black")
    return np.concatenate([np.asarray(header), body])


def _of_two(faces: Mapping[str, Tensor], predict: Predict) -> dict[str, Tensor]:
    rows = min(len(each) for each in faces.values())
    (one, other), (source, target) = faces, (each[:rows] for each in faces.values())
    swap, mask = predict(target, one)
    return {
        one: source,
        f"{one} drawn": predict(source, one)[0],
        other: target,
        f"{other} drawn": predict(target, other)[0],
        "swap": swap,
        f"swap in {other}": target + (swap - target) * mask,
        "mask": mask.expand(-1, 3, -1, -1),
    }


def _of_many(faces: Mapping[str, Tensor], predict: Predict) -> dict[str, Tensor]:
    everybody = torch.cat(list(faces.values()))
    return {"real": everybody, **{f"as {name}": predict(everybody, name)[0] for name in faces}}


def write_sheet(pixels: NDArray[np.uint8], output: Path, sign: Sign) -> None:
    """Write a sheet to `output`, signed; the unsigned file is private and goes again.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="visagist-") as private:
            unsigned = Path(private) / "sheet.png"
            Image.fromarray(pixels).save(unsigned)
            sign(unsigned, output)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written ({error.strerror}); choose another place or free some"
        ) from error


def preview_path(previews: Path, iteration: int) -> Path:
    """The sheet of an iteration among all previews of a run."""
    return previews / f"{iteration:08}.png"
