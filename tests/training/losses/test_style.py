"""Style losses against SciPy, and that they leave alone what they should."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from tests.training.losses.conftest import disc, pictures
from visagist.training import losses
from visagist.training.losses.style import local_statistics


def test_local_statistics_are_scipys_inside_the_mask() -> None:
    x, _ = pictures(64, count=1)
    mask = disc(64, count=1)
    mean, deviation, small = local_statistics(x, mask)
    blur = {"sigma": 64 / 16, "mode": "constant", "truncate": 12}
    share = gaussian_filter(mask[0, 0].numpy().astype(np.float64), **blur)
    inside = mask[0, 0].numpy() > 0.5
    for channel in range(3):
        values = x[0, channel].numpy().astype(np.float64)
        expected = gaussian_filter(values * mask[0, 0].numpy(), **blur) / share
        squares = gaussian_filter(values**2 * mask[0, 0].numpy(), **blur) / share
        np.testing.assert_allclose(mean[0, channel].numpy()[inside], expected[inside], atol=1e-4)
        spread = np.sqrt(squares - expected**2 + 1e-5)
        np.testing.assert_allclose(deviation[0, channel].numpy()[inside], spread[inside], atol=1e-3)
    assert torch.equal(small, mask)


@pytest.mark.parametrize(("size", "side"), [(32, 32), (96, 96), (128, 64), (304, 76), (512, 64)])
def test_large_pictures_are_looked_at_in_small(size: int, side: int) -> None:
    x, _ = pictures(size, count=1, noise=0)
    mean, _, small = local_statistics(x, torch.ones(1, 1, size, size))
    assert mean.shape[-2:] == small.shape[-2:] == (side, side)
    assert mean[..., side // 2, side // 2].allclose(x[..., size // 2, size // 2], atol=0.06)


def test_what_is_outside_the_mask_does_not_leak_into_the_face() -> None:
    x, y = pictures(64)
    mask = (disc(64) > 0.5).float()
    changed = y * mask + (1 - mask)
    assert losses.face_style(x, y, mask).item() == pytest.approx(losses.face_style(x, changed, mask).item(), abs=1e-9)


def test_face_style_sees_light_and_not_whose_face_it_is() -> None:
    """Another drawing in the same colours costs little; the same drawing in another light costs much."""
    x, _ = pictures(64, noise=0)
    mask = disc(64)
    lit = (x * torch.linspace(0.7, 1.0, 64)).clamp(0, 1)  # from one side
    drawn = (x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    assert losses.face_style(x, x, mask).item() == 0
    assert losses.face_style(lit, x, mask).item() > 3 * losses.face_style(drawn, x, mask).item()
    assert losses.absolute(drawn, x, mask).item() > 0.3 * losses.absolute(lit, x, mask).item()


def test_face_style_takes_on_the_targets_contrast() -> None:
    x, _ = pictures(64)
    flat = x.mean((-2, -1), keepdim=True) + 0.5 * (x - x.mean((-2, -1), keepdim=True))
    picture = flat.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=0.01)
    before = losses.face_style(picture, x, torch.ones(2, 1, 64, 64)).item()
    for _ in range(20):
        optimizer.zero_grad()
        losses.face_style(picture, x, torch.ones(2, 1, 64, 64)).backward()
        optimizer.step()
    assert losses.face_style(picture, x, torch.ones(2, 1, 64, 64)).item() < before / 3


def test_gradient_of_one_grey_is_finite() -> None:
    """The root of a variance of nought has an endless slope."""
    swap = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    losses.face_style(swap, torch.full((1, 3, 64, 64), 0.4), disc(64, count=1)).backward()
    assert swap.grad is not None
    assert swap.grad.isfinite().all()
    assert swap.grad.abs().sum() > 0


def test_gradients_are_right() -> None:
    x, y = (picture[:1, :, :24, :24].double() for picture in pictures(32))
    x.requires_grad_()
    mask = disc(24, count=1).double()
    assert torch.autograd.gradcheck(lambda x: losses.face_style(x, y, mask), (x,), fast_mode=True)
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
