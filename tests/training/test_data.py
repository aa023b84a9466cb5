"""Crops in memory: division, detail, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from visagist.core.errors import ConfigError, FacesetError
from visagist.training import Crops
from visagist.training.data.crops import Side, detail, yaw_weights

CPU = torch.device("cpu")


def numbered(count: int) -> Crops:
    """Crops whose red channel is their number."""
    images = np.zeros((count, 20, 20, 3), np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    return Crops(images, np.full((count, 20, 20), 255, np.uint8))


def numbers(planes: torch.Tensor) -> set[int]:
    return {round(value) for value in (planes[:, 0, 0, 0] * 255).tolist()}


def test_held_out_crops_are_the_end_and_never_drawn() -> None:
    side = Side(numbered(50), 0.1, CPU)
    assert numbers(side.judged(100)) == {45, 46, 47, 48, 49}
    drawn = numbers(side.draw(2000, torch.Generator().manual_seed(0)))
    assert drawn == set(range(45))


def test_judged_crops_are_spread_evenly() -> None:
    assert numbers(Side(numbered(100), 0.4, CPU).judged(4)) == {60, 73, 86, 99}


def test_crops_are_rgb_hull_and_detail_between_0_and_1() -> None:
    planes = Side(numbered(10), 0.1, CPU).draw(3, torch.Generator())
    assert planes.shape == (3, 5, 20, 20)
    assert planes.is_contiguous(memory_format=torch.channels_last)
    assert planes[:, 3].min() == 1
    assert planes.max() <= 1


def test_detail_finds_the_eye_on_the_cheek() -> None:
    image = np.full((1, 64, 64, 3), 128, np.uint8)
    image[0, 18:24, 18:30] = 20
    hull = np.zeros((1, 64, 64), np.uint8)
    hull[0, 8:56, 8:56] = 255
    found = detail(torch.from_numpy(image), torch.from_numpy(hull))[0]
    assert found[21, 18] > 200
    assert found[45, 45] == 0
    assert found[:8].max() == 0


def test_too_few_crops_are_refused_with_the_number_needed() -> None:
    with pytest.raises(FacesetError, match=r"3 crops are too few.*8"):
        numbered(3)


def test_images_and_hulls_of_different_sizes_are_refused() -> None:
    with pytest.raises(FacesetError, match="do not fit"):
        Crops(np.zeros((10, 20, 20, 3), np.uint8), np.zeros((10, 16, 16), np.uint8))


def test_empty_hulls_are_refused() -> None:
    with pytest.raises(FacesetError, match="hulls"):
        Side(Crops(np.zeros((10, 20, 20, 3), np.uint8), np.zeros((10, 20, 20), np.uint8)), 0.1, CPU)


def test_fingerprint_tells_one_changed_pixel() -> None:
    crops, other = numbered(10), numbered(10)
    assert crops.fingerprint == other.fingerprint
    other = numbered(10)
    other.images[3, 4, 5, 1] = 1
    assert crops.fingerprint != other.fingerprint


def turned(yaws: list[float]) -> Crops:
    """Numbered crops of heads turned aside by so many degrees."""
    return replace(numbered(len(yaws)), yaws=np.array(yaws, np.float32))


def test_all_steps_of_yaw_that_have_crops_are_drawn_equally_often() -> None:
    yaws = [*np.linspace(-9, 9, 30), -120, -85, 42, 44, 46, 49, *[70] * 9]  # the last 9 are held out
    side = Side(turned(yaws), 0.2, CPU, yaw_bins=18)
    drawn = (side.draw(12_000, torch.Generator().manual_seed(0))[:, 0, 0, 0] * 255).round().long()
    part = torch.bincount(drawn, minlength=45).double() / 12_000
    assert part[36:].sum() == 0
    steps = [part[:15].sum(), part[15:30].sum(), part[30:32].sum(), part[32:36].sum()]
    torch.testing.assert_close(torch.stack(steps), torch.full((4,), 0.25).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(part[32:36], torch.full((4,), 1 / 16).double(), atol=0.01, rtol=0)  # alike within one
    again = side.draw(12_000, torch.Generator().manual_seed(0))[:, 0, 0, 0] * 255
    assert torch.equal(again.round().long(), drawn)


def test_one_step_of_yaw_weighs_all_crops_alike() -> None:
    torch.testing.assert_close(yaw_weights(torch.tensor([-80.0, 0, 3, 90]), 1), torch.full((4,), 0.25).double())


@pytest.mark.parametrize("yaws", [None, np.full(10, np.nan, np.float32)])
def test_even_yaws_of_crops_whose_pose_nobody_knows_are_refused(yaws: np.ndarray | None) -> None:
    crops = replace(numbered(10), yaws=yaws)
    Side(crops, 0.1, CPU)
    with pytest.raises(ConfigError, match=r"crops: 18 yaw bins .* known pose.* --augmentation.yaw-bins"):
        Side(crops, 0.1, CPU, yaw_bins=18)


def test_yaws_that_are_not_one_number_a_crop_are_refused() -> None:
    with pytest.raises(FacesetError, match=r"yaws \(9,\) do not fit 10 crops"):
        replace(numbered(10), yaws=np.zeros(9, np.float32))
