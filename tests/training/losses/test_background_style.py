"""The surroundings of the face: compared as a whole outside the hull, and not at all inside."""

from dataclasses import replace

import torch

from tests.training.losses.conftest import disc, pictures, swap_prediction
from visagist.training.losses import LOSSES
from visagist.training.losses.ssim import multiscale_dssim

LOSS = LOSSES["background_style"]


def test_without_a_hull_it_is_structure_and_squares_of_the_whole_picture() -> None:
    target, rgb = pictures(64)
    hull = torch.zeros(2, 1, 64, 64)
    expected = multiscale_dssim(rgb, target, 1 - hull) + ((rgb - target) ** 2).mean((1, 2, 3))
    torch.testing.assert_close(LOSS(replace(swap_prediction(), rgb=rgb, target=target, hull=hull)), expected)


def test_the_face_gets_no_gradient() -> None:
    hull = (disc(48, 3) > 0.5).float()
    swap = replace(swap_prediction(), hull=hull)
    (gradient,) = torch.autograd.grad(LOSS(replace(swap, rgb=swap.rgb.requires_grad_())).sum(), swap.rgb)
    assert not (gradient * hull).any()
    assert (gradient * (1 - hull)).any()


def test_gradient_of_background_style() -> None:
    target, rgb = (picture[:1, :, :24, :24].double() for picture in pictures(32))
    swap = replace(swap_prediction(), target=target, hull=disc(24, 1).double())
    assert torch.autograd.gradcheck(lambda x: LOSS(replace(swap, rgb=x)), (rgb.requires_grad_(),), fast_mode=True)
