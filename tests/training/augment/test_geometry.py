"""Similarities and warps: against OpenCV, and by the statistics of the draws."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.augment.conftest import generator
from visagist.training.augment import Augmentation
from visagist.training.augment.geometry import random_similarity, random_warp, sample


def test_sampling_agrees_with_opencv() -> None:
    planes = torch.nn.functional.interpolate(torch.rand(1, 5, 8, 8, generator=generator()), size=40, mode="bicubic")
    similarity = random_similarity(Augmentation(rotate=20, scale=0.1, shift=0.05), torch.ones(1).bool(), generator())
    shift = torch.tensor([0.1, -0.05])  # a constant warp is a shift of the output
    seen, truth = sample(planes[:, :3], planes, similarity, shift.expand(1, 40, 40, 2), 1.0)
    pixels = np.array([[20, 0, 19.5], [0, 20, 19.5], [0, 0, 1]])  # [-1, 1] to pixel centres
    for got, moved in ((truth, np.zeros(2)), (seen, shift.numpy())):
        matrix = np.vstack([similarity[0].numpy(), [0, 0, 1]]) @ np.array(
            [[1, 0, moved[0]], [0, 1, moved[1]], [0, 0, 1]]
        )
        reference = cv2.warpAffine(
            planes[0, :3].permute(1, 2, 0).numpy(),
            (pixels @ matrix @ np.linalg.inv(pixels))[:2],
            (40, 40),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        np.testing.assert_allclose(got[0, :3].permute(1, 2, 0).numpy(), reference, atol=0.02)


def test_similarities_stay_within_the_options() -> None:
    may_flip = torch.arange(1000) < 500
    similarity = random_similarity(Augmentation(rotate=10, scale=0.1, shift=0.05), may_flip, generator())
    determinant = torch.linalg.det(similarity[:, :, :2])
    angle = torch.rad2deg(torch.atan2(-similarity[:, 0, 1], similarity[:, 1, 1]))
    assert 9 < angle.abs().max() <= 10.001
    assert 1.08 < determinant.abs().sqrt().max() <= 1.1001
    assert 1 / 1.1001 <= determinant.abs().sqrt().min() < 1 / 1.08
    assert 0.09 < similarity[:, :, 2].abs().max() <= 0.1001  # the side is 2 long
    assert 200 < (determinant[:500] < 0).sum() < 300
    assert (determinant[500:] > 0).all()


def test_warps_of_x_and_y_are_independent() -> None:
    """Drawn as one map and its transpose, they would be symmetric by accident."""
    x, y = random_warp(400, 16, 0.03, (5,), generator()).unbind(3)

    def correlation(a: Tensor, b: Tensor) -> float:
        return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()

    assert max(abs(correlation(*pair)) for pair in ((x, y), (x, y.transpose(1, 2)), (x[:-1], x[1:]))) < 0.05


def test_each_face_draws_its_grid_and_no_grid_folds_sooner_than_another() -> None:
    grids = (3, 5, 9)
    alone = [random_warp(300, 33, 0.014, (points,), generator(1)) for points in grids]
    for points, warp in zip(grids, alone, strict=True):
        step = 32 // (points - 1)  # px between control points
        assert warp[:, ::step, ::step].std().item() == pytest.approx(0.028 * 4 / (points - 1), rel=0.05)
    slopes, bends = zip(*((warp.diff(dim=1).std(), warp.diff(2, dim=1).std()) for warp in alone), strict=True)
    assert max(slopes) < 1.2 * min(slopes)
    assert bends[0] < bends[1] < bends[2]
    # The corners are control points of every grid: their variance is the mean of all.
    mixed = random_warp(900, 33, 0.014, grids, generator())[:, ::32, ::32].var().item()
    assert mixed == pytest.approx(sum((0.028 * 4 / (points - 1)) ** 2 for points in grids) / 3, rel=0.1)
