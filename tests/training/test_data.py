"""Crops in memory: validation split, importance of pixels, sampling by yaw, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from visagist.core.errors import ConfigError, FacesetError
from visagist.training import Crops
from visagist.training.data import IdentityDataset
from visagist.training.data.dataset import importance, yaw_weights

CPU = torch.device("cpu")


def numbered(count: int, **changes: object) -> Crops:
    """Crops with their index as the red channel."""
    images = np.zeros((count, 20, 20, 3), np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    return replace(Crops(images, np.full((count, 20, 20), 255, np.uint8)), **changes)


def numbers(planes: torch.Tensor) -> list[int]:
    return [round(value) for value in (planes[:, 0, 0, 0] * 255).tolist()]


@pytest.mark.parametrize(("validation", "held_out"), [(None, {45, 46, 47, 48, 49}), (2, {48, 49})])
def test_validation_crops_are_the_end_and_never_drawn(validation: int | None, held_out: set[int]) -> None:
    dataset = IdentityDataset(numbered(50, validation=validation), 0.1, CPU)
    assert set(numbers(dataset.validation_crops(100))) == held_out
    assert set(dataset.draw(2000, torch.Generator().manual_seed(0)).tolist()) == set(range(50)) - held_out


def test_validation_crops_are_spread_evenly() -> None:
    assert numbers(IdentityDataset(numbered(100), 0.4, CPU).validation_crops(4)) == [60, 73, 86, 99]


def test_planes_are_rgb_hull_and_importance_between_0_and_1() -> None:
    planes = IdentityDataset(numbered(10), 0.1, CPU).crops(torch.arange(3))
    assert planes.shape == (3, 5, 20, 20)
    assert planes.is_contiguous(memory_format=torch.channels_last)
    assert planes[:, 3].min() == 1
    assert planes.max() <= 1


def test_importance_is_features_and_a_quarter_of_detail() -> None:
    image = torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)
    image[0, 18:24, 18:30] = 20  # an eye
    hull, features = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    hull[0, 8:56, 8:56] = 255
    features[0, 50:52, 20:40] = 255
    found = importance(image, hull, features)[0]
    assert 50 < found[21, 18] <= 255 // 4
    assert found[51, 30] == 255
    assert found[40, 45] == 0
    assert found[:8].max() == 0


def test_fingerprint_changes_with_a_pixel_and_with_what_is_held_out() -> None:
    crops, other = numbered(10), numbered(10)
    assert crops.fingerprint == numbered(10).fingerprint
    other.images[3, 4, 5, 1] = 1
    assert len({crops.fingerprint, other.fingerprint, numbered(10, validation=2).fingerprint}) == 3


def test_all_non_empty_yaw_bins_are_drawn_equally_often() -> None:
    yaws = np.array([*np.linspace(-9, 9, 30), -120, -85, 42, 44, 46, 49, *[70] * 9], np.float32)
    dataset = IdentityDataset(numbered(45, yaws=yaws), 0.2, CPU, yaw_bins=18)  # the last 9 are held out
    drawn = dataset.draw(12_000, torch.Generator().manual_seed(0))
    part = torch.bincount(drawn, minlength=45).double() / 12_000
    assert part[36:].sum() == 0
    steps = [part[:15].sum(), part[15:30].sum(), part[30:32].sum(), part[32:36].sum()]
    torch.testing.assert_close(torch.stack(steps), torch.full((4,), 0.25).double(), atol=0.02, rtol=0)
    torch.testing.assert_close(part[32:36], torch.full((4,), 1 / 16).double(), atol=0.01, rtol=0)  # equal within a bin
    again = [dataset.draw(99, torch.Generator().manual_seed(0)).tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_one_yaw_bin_gives_all_crops_the_same_weight() -> None:
    torch.testing.assert_close(yaw_weights(torch.tensor([-80.0, 0, 3, 90]), 1), torch.full((4,), 0.25).double())


@pytest.mark.parametrize("yaws", [None, np.full(10, np.nan, np.float32)])
def test_yaw_bins_of_crops_with_unknown_pose_are_refused(yaws: np.ndarray | None) -> None:
    crops = numbered(10, yaws=yaws)
    IdentityDataset(crops, 0.1, CPU)
    with pytest.raises(ConfigError, match=r"--augmentation\.yaw-bins"):
        IdentityDataset(crops, 0.1, CPU, yaw_bins=18)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((3, 20, 20, 3), np.uint8)}, r"3 crops .* 8"),
        ({"hulls": np.zeros((10, 16, 16), np.uint8)}, r"\(10, 16, 16\)"),
        ({"features": np.zeros((10, 16, 16), np.uint8)}, r"\(10, 16, 16\)"),
        ({"yaws": np.zeros(9, np.float32)}, r"\(9,\)"),
        ({"validation": 10}, "10"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FacesetError, match=message):
        numbered(10, **changes)


def test_empty_hulls_are_refused() -> None:
    with pytest.raises(FacesetError, match="hulls"):
        IdentityDataset(numbered(10, hulls=np.zeros((10, 20, 20), np.uint8)), 0.1, CPU)
