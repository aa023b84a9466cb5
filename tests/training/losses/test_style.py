"""Style losses against SciPy, and that they leave alone what they should."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from visagist.training.losses.style import local_means, relit

from tests.training.losses.conftest import disc, pictures
from visagist.training import losses


def test_local_means_are_scipys_inside_the_mask() -> None:
    x, _ = pictures(64, count=1)
    mask = disc(64, count=1)
    means = local_means(x, mask)
    blur = {"sigma": 64 / 8, "mode": "constant", "truncate": 12}
    share = gaussian_filter(mask[0, 0].numpy().astype(np.float64), **blur)
    inside = mask[0, 0].numpy() > 0.5
    for channel in range(3):
        values = x[0, channel].numpy().astype(np.float64)
        expected = gaussian_filter(values * mask[0, 0].numpy(), **blur) / share
        np.testing.assert_allclose(means[0, channel].numpy()[inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize(("size", "side"), [(32, 32), (96, 96), (128, 64), (304, 76), (512, 64)])
def test_large_pictures_are_looked_at_in_small(size: int, side: int) -> None:
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
    found = relit(x, x.flip(0) * light, mask)
    wanted = local_means(x.flip(0) * light, mask)
    left, before = ((local_means(face, mask) - wanted).abs().mean() for face in (found, x))
    assert left < 0.3 * before
    assert losses.edges(found, x * light, mask).item() < losses.edges(found, x.flip(0) * light, mask).item() / 2


def test_face_style_asks_for_the_targets_light_and_has_no_wish_for_patterns() -> None:
    """It let a face become dark by a grid, and gave a smooth one the contrast of a rough one by it."""
    known, target = pictures(64)
    mask = torch.ones(2, 1, 64, 64)
    grid = 1 - 0.4 * (torch.arange(64) % 4 == 0)
    plain = losses.face_style(known * 0.9, known, known * 0.9, mask).item()
    latticed = losses.face_style(known * grid, known, known * 0.9, mask).item()  # as dark, but for windows' ends
    assert plain < 0.02 < 0.1 < latticed
    swap = known.clone().requires_grad_()
    optimizer = torch.optim.Adam([swap], lr=0.01)
    target = 0.6 * target
    before = losses.face_style(swap, known, target, mask).item()
    for _ in range(30):
        optimizer.zero_grad()
        losses.face_style(swap, known, target, mask).backward()
        optimizer.step()
    assert losses.face_style(swap, known, target, mask).item() < before / 3


def test_gradients_are_right() -> None:
    x, y = (picture[:1, :, :24, :24].double() for picture in pictures(32))
    x.requires_grad_()
    mask = disc(24, count=1).double()
    assert torch.autograd.gradcheck(lambda x: losses.face_style(x, y.flip(-1), y, mask), (x,), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: losses.background_style(x, y, mask), (x,), fast_mode=True)


def test_background_style_is_structure_and_squares_outside_and_nothing_inside() -> None:
    swap, target = pictures(64)
    empty = torch.zeros(2, 1, 64, 64)
    whole = losses.dssim(swap, target, 1 - empty) + ((swap - target) ** 2).mean()
    assert losses.background_style(swap, target, empty).item() == pytest.approx(whole.item(), rel=1e-5)
    mask = (disc(64) > 0.5).float()
    swap.requires_grad_()
    losses.background_style(swap, target, mask).backward()
    assert swap.grad is not None
    assert (swap.grad * mask).abs().max().item() == 0
    assert (swap.grad * (1 - mask)).abs().max().item() > 0
