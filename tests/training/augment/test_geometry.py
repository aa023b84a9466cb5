"""Where pixels go: geometry against OpenCV, draws by their statistics."""

import cv2
import numpy as np
import pytest
import torch

from tests.training.augment.conftest import generator
from visagist.training.augment import Augmentation
from visagist.training.augment.geometry import random_similarity, random_warp, sample


def test_similarity_is_what_opencv_makes_of_it() -> None:
    planes = torch.nn.functional.interpolate(torch.rand(1, 5, 8, 8, generator=generator()), size=40, mode="bicubic")
    similarity = random_similarity(Augmentation(rotate=20, scale=0.1, shift=0.05), torch.zeros(1).bool(), generator())
    _, truth = sample(planes, similarity, torch.zeros(1, 40, 40, 2), 1.0, 3)
    pixels = np.array([[20, 0, 19.5], [0, 20, 19.5], [0, 0, 1]])  # [-1, 1] to pixel centres
    matrix = pixels @ np.vstack([similarity[0].numpy(), [0, 0, 1]]) @ np.linalg.inv(pixels)
    picture = planes[0, :3].permute(1, 2, 0).numpy()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    reference = cv2.warpAffine(picture, matrix[:2], (40, 40), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(truth[0, :3].permute(1, 2, 0).numpy(), reference, atol=0.02)


def test_warp_of_x_and_y_are_independent() -> None:
    """Drawn as one map and its transpose, x and y would be symmetric by accident."""
    warp = random_warp(400, 16, 0.03, (5,), generator())
    x, y = warp[..., 0], warp[..., 1]

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()

    assert abs(correlation(x, y)) < 0.05
    assert abs(correlation(x, y.transpose(1, 2))) < 0.05
    assert abs(correlation(x[:-1], x[1:])) < 0.05


def test_warp_has_the_stated_deviation_at_its_control_points_and_is_smooth() -> None:
    warp = random_warp(500, 33, 0.03, (5,), generator())
    assert warp[:, ::32, ::32].std().item() == pytest.approx(0.06, rel=0.05)  # the side is 2 long
    assert (warp[:, 1:] - warp[:, :-1]).abs().max() < 0.06


def test_each_face_draws_its_grid_and_no_grid_folds_sooner_than_another() -> None:
    grids = (3, 5, 9)
    warp = random_warp(900, 33, 0.014, grids, generator())
    alone = {points: random_warp(300, 33, 0.014, (points,), generator(1)) for points in grids}
    for points, of_one in alone.items():
        deviation = of_one[:, :: 32 // (points - 1), :: 32 // (points - 1)].std().item()
        assert deviation == pytest.approx(0.028 * 4 / (points - 1), rel=0.05)
    steps = [(of_one[:, 1:] - of_one[:, :-1]).std().item() for of_one in alone.values()]
    assert max(steps) < 1.2 * min(steps)
    # The corners are control points of every grid: their spread is that of a third of each.
    mixed = warp[:, ::32, ::32].var().item()
    assert mixed == pytest.approx(sum((0.028 * 4 / (points - 1)) ** 2 for points in grids) / 3, rel=0.1)


def test_finer_grids_bend_smaller_parts() -> None:
    def bend(points: int) -> float:
        warp = random_warp(100, 33, 0.014, (points,), generator())
        return (warp[:, 2:] - 2 * warp[:, 1:-1] + warp[:, :-2]).std().item()

    assert bend(3) < bend(5) < bend(9)


def test_only_faces_that_may_be_are_mirrored() -> None:
    plain = random_similarity(Augmentation(), torch.zeros(400).bool(), generator())
    mirrored = random_similarity(Augmentation(), torch.arange(400) < 200, generator())
    assert (torch.linalg.det(plain[:, :, :2]) > 0).all()
    turned = torch.linalg.det(mirrored[:, :, :2]) < 0
    assert 60 < turned[:200].sum() < 140
    assert not turned[200:].any()
    torch.testing.assert_close(mirrored[~turned], plain[~turned])


def test_draws_stay_within_the_settings() -> None:
    augmentation = Augmentation(rotate=10, scale=0.1, shift=0.05)
    similarity = random_similarity(augmentation, torch.zeros(1000).bool(), generator())
    scale = torch.linalg.det(similarity[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(similarity[:, 1, 0], similarity[:, 0, 0]))
    assert angle.abs().max() <= 10.001
    assert angle.abs().max() > 9
    assert scale.max() <= 1.1001
    assert scale.min() >= 1 / 1.1001
    assert similarity[:, :, 2].abs().max() <= 0.1001  # the side is 2 long
