"""Optimizers against their papers' equations in NumPy, and what each option does."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.training.trainers import FLOAT32
from visagist.core.errors import ConfigError, RunError
from visagist.training.optimizers import (
    DEFAULT_BETAS,
    OptimizerOptions,
    create_optimizer,
    optimizer_step,
    random_mask,
    restore_state,
    state_tensors,
    stepped_tensor,
    suited_rate,
    update_average,
)

NAMES = tuple(DEFAULT_BETAS)
Array = NDArray[np.float64]


def options_of(name: str, **changes: object) -> OptimizerOptions:
    return OptimizerOptions.model_validate({"name": name, **changes})


# The algorithms of the papers; `rates` vary per step. Schedule-free returns x, which predictions use.


def adamw(w: Array, gradients: list[Array], rates: list[float], b1: float, b2: float, decay: float) -> Array:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * decay * w
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
    return w


def adabelief(w: Array, gradients: list[Array], rates: list[float], b1: float, b2: float, decay: float) -> Array:
    m, s = np.zeros_like(w), np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + 1e-16
        w = w - rate * decay * w
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + 1e-16)
    return w


def lion(w: Array, gradients: list[Array], rates: list[float], b1: float, b2: float, decay: float) -> Array:
    m = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        w = w - rate * (np.sign(b1 * m + (1 - b1) * g) + decay * w)
        m = b2 * m + (1 - b2) * g
    return w


def schedule_free(w: Array, gradients: list[Array], rates: list[float], b1: float, b2: float, decay: float) -> Array:
    z, x, v, squares = w, w, np.zeros_like(w), 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        y = (1 - b1) * z + b1 * x
        v = b2 * v + (1 - b2) * g**2
        z = z - rate * g / (np.sqrt(v / (1 - b2**t)) + 1e-8) - rate * decay * y
        squares += rate**2
        x = x + rate**2 / squares * (z - x)
    return x


PAPERS = {"adamw": adamw, "adabelief": adabelief, "lion": lion, "schedule-free": schedule_free}


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_follows_its_paper(name: str) -> None:
    rng = np.random.default_rng(0)
    first, gradients = rng.normal(size=(4, 3, 5, 5)), [rng.normal(size=(4, 3, 5, 5)) for _ in range(8)]
    rates = [0.01 * (i + 1) for i in range(8)]
    weight = torch.tensor(first).contiguous(memory_format=torch.channels_last).requires_grad_()
    bias = torch.ones(3, dtype=torch.float64, requires_grad=True)
    options = options_of(name, weight_decay=0.1, clip=0.0, ema=0.0)
    weights, average = {"w": weight, "b": bias}, {"w": weight.detach().clone(), "b": bias.detach().clone()}
    optimizer = create_optimizer(weights.values(), options, 0.5, FLOAT32)
    for iteration, (gradient, rate) in enumerate(zip(gradients, rates, strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad, bias.grad = torch.empty_like(weight).copy_(torch.tensor(gradient)), torch.zeros_like(bias)
        optimizer_step(optimizer, weights.values(), options, 0)
        update_average(optimizer, weights, average, iteration, options)
    expected = PAPERS[name](first, gradients, rates, *DEFAULT_BETAS[options.name], 0.1)
    np.testing.assert_allclose(average["w"].numpy(), expected, rtol=1e-9, atol=1e-9)
    assert (bias == 1).all()  # without a gradient only decay could move it


@pytest.mark.parametrize("name", NAMES)
def test_given_betas_are_used(name: str) -> None:
    optimizer = create_optimizer([torch.zeros(1, requires_grad=True)], options_of(name, betas=(0.5, 0.6)), 0.1, FLOAT32)
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_a_state_of_other_shapes_is_refused() -> None:
    weight = torch.zeros(4, 3, requires_grad=True)
    optimizer = create_optimizer([weight], options_of("lion"), 0.1, FLOAT32)
    weight.grad = torch.ones(4, 3)
    optimizer.step()
    kept = state_tensors(optimizer, {"w": weight}) | {"exp_avg/w": torch.zeros(6)}
    with pytest.raises(RunError, match=r"exp_avg/w.*\(6,\).*\(4, 3\)"):
        restore_state(optimizer, {"w": weight}, kept, "lion")


@pytest.mark.parametrize("name", NAMES)
def test_learning_rate_dropout_lets_the_rest_of_the_weights_step(name: str) -> None:
    weight = torch.zeros(200, 100, requires_grad=True)
    options = options_of(name, lr_dropout=0.7)
    optimizer = create_optimizer([weight], options, 0.1, FLOAT32)
    stepped: list[Tensor] = []
    for iteration in range(3):
        before, path = weight.detach().clone(), stepped_tensor(optimizer, weight).clone()
        weight.grad = torch.ones(200, 100)
        optimizer_step(optimizer, [weight], options, iteration)
        stepped.append(weight.detach() != before)
        assert torch.equal(stepped_tensor(optimizer, weight) != path, stepped[-1])  # dropped in z as well
    assert all(abs(moved.float().mean().item() - 0.3) < 0.02 for moved in stepped)
    assert abs((stepped[0] & stepped[1]).float().mean().item() - 0.09) < 0.02  # independent draws


def test_a_random_mask_is_independent_and_in_the_weights_layout() -> None:
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(101, 5, 3, 3).contiguous(memory_format=torch.channels_last)
    found = torch.stack([random_mask(like, 0.3, generator) for _ in range(400)]).float()
    assert random_mask(like, 0.3, generator).stride() == like.stride()
    assert found.mean().item() == pytest.approx(0.3, abs=0.004)
    assert found.mean(0).std().item() == pytest.approx(math.sqrt(0.3 * 0.7 / 400), rel=0.1)


def test_clipping_bounds_the_gradient_and_returns_the_norm() -> None:
    for clip, expected in ((0.0, 2.0), (1.0, 0.1)):
        weight = torch.zeros(4, requires_grad=True)
        options = OptimizerOptions(clip=clip)
        optimizer = create_optimizer([weight], options, 0.1, FLOAT32)
        weight.grad = torch.full((4,), 10.0)
        assert optimizer_step(optimizer, [weight], options, 0).item() == pytest.approx(20.0)
        assert weight.grad is None
        assert optimizer.state[weight]["exp_avg"].norm().item() == pytest.approx(expected)
    weight.grad = torch.tensor([1.0, float("nan"), 0.0, 0.0])
    assert not optimizer_step(optimizer, [weight], options, 0).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_weights_for_predictions_have_less_noise(name: str) -> None:
    options = options_of(name, ema=0.9)
    weight = torch.ones(200, requires_grad=True)
    optimizer = create_optimizer([weight], options, suited_rate(options.name, 0.05), FLOAT32)
    average = {"w": weight.detach().clone()}
    noise = torch.Generator().manual_seed(0)
    for iteration in range(300):
        weight.grad = weight.detach() + torch.randn(200, generator=noise)
        optimizer_step(optimizer, [weight], options, 0)
        update_average(optimizer, {"w": weight}, average, iteration, options)
    noisy = stepped_tensor(optimizer, weight).norm()  # schedule-free's weights are nearly the average
    assert noisy < 10  # began at 14.1
    assert average["w"].norm() < 0.9 * noisy
    if name != "schedule-free":
        update_average(optimizer, {"w": weight}, average, 301, OptimizerOptions(ema=0.0))
        assert torch.equal(average["w"], weight.detach())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "sgd"},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"weight_decay": -1},
        {"lr_dropout": 1},
        {"clip": -1},
        {"accumulate": 0},
        {"ema": 1},
        {"momentum": 0.9},
        {"name": "schedule-free", "betas": (0, 0.99)},  # needs its first beta to average
    ],
)
def test_nonsense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        OptimizerOptions.parse(changes, "here")
