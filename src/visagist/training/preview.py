"""Preview sheets: faces, their reconstructions and swaps."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from visagist.core.errors import OutputError

Sign = Callable[[Path, Path], object]  # signs the first file and writes the result to the second
Predict = Callable[[Tensor, str], tuple[Tensor, Tensor]]  # faces as an identity: RGB and mask

HEADER = 16  # px


def sheet(faces: Mapping[str, Tensor], predict: Predict) -> NDArray[np.uint8]:
    """A sheet with one face per row; with two identities, a face of each and the swap of the second.

    `faces` are `(B, 3, R, R)` RGB in [0, 1] of each identity, the source first. Returns uint8 RGB
    `(16 + rows * R, columns * R, 3)`; the first 16 lines name the columns.
    """
    if len(faces) == 2:
        count = min(len(each) for each in faces.values())
        (one, other), (source, target) = faces, (each[:count] for each in faces.values())
        swap, mask = predict(target, one)
        columns = {
            one: source,
            f"{one} decoded": predict(source, one)[0],
            other: target,
            f"{other} decoded": predict(target, other)[0],
            "swap": swap,
            f"swap in {other}": target + (swap - target) * mask,
            "mask": mask.expand(-1, 3, -1, -1),
        }
    else:
        real = torch.cat(list(faces.values()))
        columns = {"real": real, **{f"as {name}": predict(real, name)[0] for name in faces}}
    pixels = torch.stack([column.cpu().float().clamp(0, 1) for column in columns.values()])  # (columns, B, 3, R, R)
    rows = pixels.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # (B * R, columns * R, 3)
    body = (rows * 255).round().to(torch.uint8).numpy()
    header = Image.new("RGB", (body.shape[1], HEADER), "white")
    for i, name in enumerate(columns):
        ImageDraw.Draw(header).text((i * pixels.shape[-1] + 3, 2), name, fill="black")
    return np.concatenate([np.asarray(header), body])


def write_sheet(pixels: NDArray[np.uint8], output: Path, sign: Sign) -> None:
    """Write a signed sheet to `output`, or raise OutputError; the unsigned file is temporary and private."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="visagist-") as private:
            unsigned = Path(private) / "sheet.png"
            Image.fromarray(pixels).save(unsigned)
            sign(unsigned, output)
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); free some space or choose another place"
        raise OutputError(f"{output}: {reason}") from error
