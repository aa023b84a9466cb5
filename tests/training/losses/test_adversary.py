"""Adversarial losses against NumPy, the balance of their gradients, and exact resume."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.training.losses.conftest import pictures
from visagist.core.device import Compute
from visagist.core.errors import RunError
from visagist.training.losses.adversary import Adversary, discriminator_loss, generator_loss
from visagist.training.losses.discriminators import PatchDiscriminator

FLOAT32 = Compute(torch.device("cpu"), None, torch.channels_last)


def adversary(patch: int = 5, width: int = 4, noise: float = 0.0) -> Adversary:
    torch.manual_seed(0)
    return Adversary(PatchDiscriminator(patch, width), FLOAT32, 0.1, noise)


def learn(opponent: Adversary, times: int) -> list[float]:
    fake, real = pictures(24)
    found: list[float] = []
    for i in range(times):
        loss = opponent.backward([(real, fake)], (2, 2), torch.Generator().manual_seed(i))
        opponent.step()
        found.append(loss.item())
    return found


def cross_entropy(logits: np.ndarray, label: float) -> np.ndarray:
    """One value per face."""
    chance = 1 / (1 + np.exp(-logits))
    return -(label * np.log(chance) + (1 - label) * np.log(1 - chance)).mean((1, 2, 3))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_losses_are_cross_entropy(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    real, fake = ([rng.normal(size=(n, 1, side, side)) for side in (4, 8)] for n in (3, 2))  # as many as there are
    maps = [[torch.from_numpy(each).float() for each in arrays] for arrays in (real, fake)]
    of_real, of_fake = discriminator_loss(maps[0], maps[1], smoothing, 0.0, torch.Generator())
    for ours, arrays, label in ((of_real, real, 1 - smoothing), (of_fake, fake, 0), (generator_loss(maps[1]), fake, 1)):
        expected = sum(cross_entropy(each, label) for each in arrays) / 2
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


def test_label_noise_is_drawn_from_the_generator() -> None:
    real, fake = (torch.full((400, 1, 1, 1), 4.0),), (torch.full((400, 1, 1, 1), -4.0),)
    first, again, other = (
        torch.cat(discriminator_loss(real, fake, 0.0, 0.25, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    right, wrong = math.log1p(math.exp(-4)), math.log1p(math.exp(4))
    turned = torch.isclose(first, torch.tensor(wrong))
    assert torch.isclose(first[~turned], torch.tensor(right), rtol=1e-3).all()
    assert 0.2 < turned.float().mean().item() < 0.3
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_discriminator_that_is_sure_still_has_a_gradient() -> None:
    logits = torch.full((1, 1, 1, 1), -20.0, requires_grad=True)
    assert torch.autograd.grad(generator_loss((logits,)).sum(), logits)[0].item() == pytest.approx(-1)


def test_learns_fine_detail() -> None:
    """Grain of a fiftieth, which predicted faces lack; an untrained discriminator has 1.386."""
    opponent, generator = adversary(9, 8), torch.Generator().manual_seed(0)
    loss = math.inf
    for _ in range(60):
        smooth = F.interpolate(torch.rand(4, 3, 4, 4, generator=generator), size=24, mode="bicubic").clamp(0, 1)
        real = (smooth + 0.02 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
        loss = opponent.backward([(real, smooth)], (4, 4), generator).item()
        opponent.step()
    assert loss < 1.0


def test_each_loss_has_gradients_for_its_own_network_only() -> None:
    opponent, (fake, real) = adversary(), pictures(24)
    fake.requires_grad_()
    before = {name: tensor.clone() for name, tensor in opponent.tensors().items()}
    opponent.adversarial_loss(fake).sum().backward()
    assert fake.grad is not None
    pull = fake.grad.clone()
    assert pull.any()
    assert all(weight.grad is None for weight in opponent.weights.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in opponent.tensors().items())
    assert not opponent.backward([(real, fake)], (2, 2), torch.Generator()).requires_grad
    assert torch.equal(fake.grad, pull)
    assert opponent.step() > 0
    assert not all(torch.equal(tensor, opponent.tensors()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_the_gradient_is_as_strong_as_its_weight_says(strength: float) -> None:
    opponent, (fake, pattern) = adversary(), pictures(24)

    def pull() -> Tensor:
        """The adversarial gradient on a face where another loss has the gradient `pattern`."""
        face = fake.clone().requires_grad_()
        (others,) = torch.autograd.grad((pattern * opponent.measured(face)).sum(), face)
        assert torch.equal(others, pattern)
        return torch.autograd.grad(strength * opponent.adversarial_loss(opponent.weighted(face, 0.3)).sum(), face)[0]

    def step() -> None:
        opponent.optimizer.zero_grad()
        opponent.backward([(fake, fake)], (2, 2), torch.Generator())
        for weight in opponent.weights.values():  # the discriminator must not change
            weight.grad = None
        opponent.step()

    assert not pull().any()  # before anything has been measured
    step()
    found = pull()
    torch.testing.assert_close(found.norm(), 0.3 * pattern.norm(), rtol=1e-3, atol=0)


def test_a_discriminator_continues_exactly_where_it_was_saved() -> None:
    opponent = adversary(noise=0.2)
    learn(opponent, 3)
    kept = {name: tensor.clone() for name, tensor in opponent.tensors().items()}
    expected = learn(opponent, 3)
    other = adversary(noise=0.2)
    for _ in range(2):  # the second time it must not have changed what it took over
        other.restore(kept)
        assert learn(other, 3) == expected
    with pytest.raises(RunError, match="PatchDiscriminator"):
        adversary(width=8).restore(kept)
