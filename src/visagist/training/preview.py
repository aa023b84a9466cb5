"""Preview sheets: faces, their reconstructions and swaps."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from visagist.core.files import write_atomic

Sign = Callable[[bytes], bytes]  # signs a PNG file
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
    """Write a signed sheet to `output`, or raise OutputError; nothing unsigned is written to disk."""
    unsigned = io.BytesIO()
    Image.fromarray(pixels).save(unsigned, "png")
    write_atomic(output, sign(unsigned.getvalue()))
