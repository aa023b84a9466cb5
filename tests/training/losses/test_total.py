"""The sum that is minimised: today's default, and what each option adds."""

import pytest
import torch
from torch import Tensor

from tests.training.losses.conftest import disc, pictures
from visagist.training import losses
from visagist.training.losses import LossOptions

SIZE = 48


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`rgb, mask, truth, hull, weights` of two faces."""
    truth, rgb = pictures(SIZE)
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(2, 1, SIZE, SIZE, generator=generator)
    importance = torch.rand(2, 1, SIZE, SIZE, generator=generator)
    hull = disc(SIZE)
    options = LossOptions()
    weights = losses.pixel_weights(hull, importance, options.outside, options.eyes_mouth, options.masked)
    assert torch.equal(weights, 0.05 + hull * (1 + 8.0 * importance))  # as runs were trained with
    return rgb, mask, truth, hull, weights


def test_default_is_to_the_last_bit_what_runs_were_trained_with(
    drawn: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
) -> None:
    rgb, mask, truth, hull, weights = drawn
    picture = losses.dssim(rgb, truth, weights) + losses.absolute(rgb, truth, weights)
    before = picture + 1.0 * losses.edges(rgb, truth, weights) + 0.5 * ((mask - hull) ** 2).mean()
    assert torch.equal(losses.face_loss(*drawn), before)
    parts = losses.reconstruction_parts(*drawn, LossOptions())
    assert list(parts) == ["dssim", "absolute", "edges", "mask"]  # what weighs nothing costs nothing
    assert torch.equal(sum(parts.values(), torch.zeros(())), before)


@pytest.mark.parametrize("name", ["dssim", "absolute", "squared", "edges", "focal_frequency", "mask"])
def test_a_weight_scales_its_part_and_no_other(name: str, drawn: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> None:
    once = losses.reconstruction_parts(*drawn, LossOptions.model_validate({name: 1.0}))
    thrice = losses.reconstruction_parts(*drawn, LossOptions.model_validate({name: 3.0}))
    assert once[name].item() > 0
    assert thrice.pop(name).item() == pytest.approx(3 * once.pop(name).item(), rel=1e-5)
    assert all(torch.equal(once[other], thrice[other]) for other in once | thrice)


def test_focal_frequency_sees_the_face_and_not_the_priority_of_eyes_and_mouth(
    drawn: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
) -> None:
    rgb, _, truth, _, weights = drawn
    parts = losses.reconstruction_parts(*drawn, LossOptions(focal_frequency=1))
    expected = losses.focal_frequency(rgb, truth, weights.clamp(max=1))
    assert parts["focal_frequency"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_styles_are_parts_of_their_own() -> None:
    swap, target = pictures(SIZE)
    known, mask = swap.flip(-1), disc(SIZE)
    assert losses.style_parts(swap, None, target, mask, LossOptions()) == {}
    face = losses.style_parts(swap, known, target, mask, LossOptions(face_style=2))
    assert list(face) == ["face_style"]
    assert face["face_style"].item() == pytest.approx(2 * losses.face_style(swap, known, target, mask).item())
    surroundings = losses.style_parts(swap, None, target, mask, LossOptions(background_style=2))
    assert list(surroundings) == ["background_style"]
    assert surroundings["background_style"].item() == pytest.approx(
        2 * losses.background_style(swap, target, mask).item()
    )


def test_does_not_depend_on_the_number_of_faces(drawn: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> None:
    twice = losses.face_loss(*(torch.cat([planes, planes]) for planes in drawn))
    assert losses.face_loss(*drawn).item() == pytest.approx(twice.item(), rel=1e-5)
