"""CLAHE against OpenCV's."""

import cv2
import numpy as np
import pytest
import torch

from tests.training.augment.conftest import generator, pictures
from visagist.training.augment.contrast import clahe, equalize
from visagist.training.augment.spaces import luma


@pytest.mark.parametrize(("size", "tiles"), [(64, 8), (128, 4), (64, 1), (90, 4), (50, 8)])
def test_clahe_is_opencvs(size: int, tiles: int) -> None:
    clips = [1.0, 2.5, 10.0, 40.0]
    levels = (luma(pictures(len(clips), size, size, low=0.3, high=0.6)) * 255).round()
    equal = clahe(levels / 255, torch.tensor(clips), tiles) * 255
    for grey, clip, got in zip(levels, clips, equal, strict=True):
        reference = cv2.createCLAHE(clip, (tiles, tiles)).apply(grey[0].numpy().astype(np.uint8))
        np.testing.assert_allclose(got[0].numpy(), reference, atol=0.51)  # OpenCV rounds


def test_more_clip_gives_more_contrast() -> None:
    rgb = pictures(1, 64, low=0.4, high=0.6).expand(3, -1, -1, -1)
    spread = equalize(rgb, torch.tensor([1.0, 3.0, 20.0]), 4).std((1, 2, 3)) / rgb.std((1, 2, 3))
    assert 1 < spread[0] < spread[1] < spread[2]


def test_equalize_keeps_the_differences_between_channels_and_makes_no_bands() -> None:
    rgb = pictures(2, 64, low=0.4, high=0.6) + 1e-3 * torch.rand(2, 3, 64, 64, generator=generator())
    equal = equalize(rgb, torch.tensor([1.5, 2.0]), 4)
    free = ((equal > 0) & (equal < 1)).all(1)
    torch.testing.assert_close((equal[:, 0] - equal[:, 2])[free], (rgb[:, 0] - rgb[:, 2])[free], atol=1e-5, rtol=0)
    ramp = torch.linspace(0.4, 0.45, 4096).reshape(1, 1, 64, 64).expand(1, 3, 64, 64)
    assert len(equalize(ramp, torch.tensor([2.0]), 1).unique()) > 1000
