"""The loss of JPEG against Pillow's."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.augment.conftest import as_array, pictures
from visagist.training.augment.jpeg import jpeg, tables

QUALITIES = (5, 20, 50, 75, 95)


def by_pillow(rgb: np.ndarray, quality: int) -> tuple[np.ndarray, dict[int, list[int]]]:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling=2)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"), np.float32), image.quantization  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("size", [64, 52])
def test_jpeg_is_pillows(size: int) -> None:
    levels = (pictures(len(QUALITIES), size, 3) * 255).round()
    compressed = jpeg(levels / 255, tables(torch.tensor(QUALITIES).float())) * 255
    for before, after, quality in zip(levels, compressed, QUALITIES, strict=True):
        reference, _ = by_pillow(as_array(before).astype(np.uint8), quality)
        error = np.abs(as_array(after) - reference)
        lost = np.abs(as_array(before) - reference).mean()
        assert error.mean() < min(1.2, 0.4 * lost), quality  # half of it is Pillow's rounding to whole levels
        assert np.quantile(error, 0.99) < 9, quality  # which moves some coefficients to the next step


def test_tables_are_those_that_pillow_writes() -> None:
    ours = tables(torch.arange(1, 101).float()).flatten(2).int()
    for quality in range(1, 101):
        _, written = by_pillow(np.zeros((16, 16, 3), np.uint8), quality)
        assert ours[quality - 1].tolist() == [list(written[0]), list(written[1])], quality


def test_lower_quality_loses_more() -> None:
    rgb = pictures(1, 64).expand(3, -1, -1, -1)
    lost = (jpeg(rgb, tables(torch.tensor([90.0, 40.0, 5.0]))) - rgb).abs().mean((1, 2, 3))
    assert 0 < lost[0] < lost[1] < lost[2]
