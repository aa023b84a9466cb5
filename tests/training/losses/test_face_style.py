"""Relighting against SciPy, and the loss based on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from tests.training.losses.conftest import disc, pictures, swap_prediction
from visagist.training.losses import LOSSES
from visagist.training.losses.edges import edge_difference
from visagist.training.losses.face_style import local_means, relit


def face_style(rgb: Tensor, before: Tensor, target: Tensor, hull: Tensor) -> Tensor:
    return LOSSES["face_style"](replace(swap_prediction(), rgb=rgb, before=before, target=target, hull=hull)).sum()


def test_local_means_are_scipys_inside_the_mask() -> None:
    x, _ = pictures(64, count=1)
    mask = disc(64, count=1)
    means = local_means(x, mask)[0].numpy()
    picture, inside = x[0].double().numpy(), mask[0, 0].double().numpy()
    blur = {"sigma": (0, 64 / 8, 64 / 8), "mode": "constant", "truncate": 12}
    expected = gaussian_filter(picture * inside, **blur) / gaussian_filter(np.stack([inside] * 3), **blur)
    np.testing.assert_allclose(means[:, inside > 0.5], expected[:, inside > 0.5], atol=1e-4)


@pytest.mark.parametrize(("size", "side"), [(32, 32), (96, 96), (128, 64), (304, 76), (512, 64)])
def test_large_pictures_are_reduced(size: int, side: int) -> None:
    ramp = torch.linspace(0, 1, size).expand(1, 3, size, size)
    means = local_means(ramp, torch.ones(1, 1, size, size))
    assert means.shape[-2:] == (side, side)
    assert means[0, 0, side // 2, side // 2].item() == pytest.approx(0.5, abs=0.02)


def test_what_is_outside_the_mask_does_not_leak_into_the_face() -> None:
    x, y = pictures(64)
    mask = (disc(64) > 0.5).float()
    changed = y * mask + (1 - mask)
    torch.testing.assert_close(relit(x, y, mask) * mask, relit(x, changed, mask) * mask, atol=1e-5, rtol=0)


def test_a_relit_face_has_the_others_light_and_its_own_features() -> None:
    x, _ = pictures(64, noise=0)
    mask = torch.ones(2, 1, 64, 64)
    light = torch.linspace(0.4, 0.8, 64)  # from one side
    other = x.flip(0) * light
    found, wanted = relit(x, other, mask), local_means(other, mask)
    left, before = ((local_means(face, mask) - wanted).abs().mean() for face in (found, x))
    assert left < 0.3 * before
    assert (edge_difference(found, x * light, mask) < edge_difference(found, other, mask) / 2).all()


def test_a_lattice_of_dark_blots_is_not_shade() -> None:
    """Regression: a loss of local colours alone accepted such a lattice."""
    before, _ = pictures(64)
    mask = torch.ones(2, 1, 64, 64)
    lattice = 1 - 0.4 * (torch.arange(64) % 4 == 0)  # as dark in the mean
    shaded, latticed = (
        face_style(before * shade, before, before * 0.9, mask) for shade in (torch.tensor(0.9), lattice)
    )
    assert shaded < 0.04 < 0.2 < latticed


def test_gradient_of_face_style() -> None:
    x, y = (picture[:1, :, :24, :24].double() for picture in pictures(32))
    mask = disc(24, count=1).double()
    assert torch.autograd.gradcheck(lambda x: face_style(x, y.flip(-1), y, mask), (x.requires_grad_(),), fast_mode=True)
