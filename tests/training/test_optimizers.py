"""Optimizers against their papers' equations in NumPy, what each option does, and what a checkpoint keeps of them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from tests.training.conftest import small_options
from tests.training.test_distributed import EVERY_LOSS, followed
from visagist.core.device import choose
from visagist.core.errors import ConfigError, RunError
from visagist.core.tensors import load_tensors, save_tensors
from visagist.training import Crops, TrainOptions
from visagist.training.data.crops import Side
from visagist.training.losses import face_loss
from visagist.training.optimizers import (
    KINDS,
    OptimizerOptions,
    build,
    chosen,
    improve,
    micro_batches,
    path_of,
    update_average,
)
from visagist.training.trainer import Trainer

NAMES = tuple(KINDS)
CPU = choose("cpu")
Array = NDArray[np.float64]
Start = Callable[..., Trainer]


@pytest.fixture
def start(source: Crops, target: Crops, options: Callable[..., TrainOptions]) -> Start:
    """A new training with changed options."""

    def begin(**changes: object) -> Trainer:
        sides = {"source": Side(source, 0.2, CPU.device), "target": Side(target, 0.2, CPU.device)}
        return Trainer(sides, options(**changes), 12, CPU)

    return begin


# The papers, a line for each of theirs. `rates` change from step to step; x is what predictions use.


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
    options = OptimizerOptions.model_validate({"name": name, "weight_decay": 0.1, "clip": 0.0, "ema": 0.0})
    weights, average = {"w": weight, "b": bias}, {"w": weight.detach().clone(), "b": bias.detach().clone()}
    optimizer = build(weights.values(), options, 0.5, CPU)
    for iteration, (gradient, rate) in enumerate(zip(gradients, rates, strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad, bias.grad = torch.empty_like(weight).copy_(torch.tensor(gradient)), torch.zeros_like(bias)
        improve(optimizer, weights.values(), options, 0)
        update_average(optimizer, weights, average, iteration, options)
    expected = PAPERS[name](first, gradients, rates, *KINDS[options.name].betas, 0.1)
    np.testing.assert_allclose(average["w"].numpy(), expected, rtol=1e-9, atol=1e-9)
    assert (bias == 1).all()  # without a gradient only decay could move it


def test_betas_are_those_that_were_asked_for() -> None:
    weight = torch.zeros(1, requires_grad=True)
    for name in NAMES:
        options = OptimizerOptions.model_validate({"name": name, "betas": (0.5, 0.6)})
        assert build([weight], options, 0.1, CPU).param_groups[0]["betas"] == (0.5, 0.6)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_restored_goes_on_exactly(name: str, start: Start, tmp_path: Path) -> None:
    """With every option that has a memory or draws at random; through the file that a checkpoint is."""
    changes = {"name": name, "lr_dropout": 0.5, "weight_decay": 0.01, "accumulate": 2, "clip": 0.5}
    unbroken, second = start(batch=6, optimizer=changes), start(batch=6, optimizer=changes)
    for iteration in range(5):
        unbroken.step(iteration)
    save_tensors(tmp_path / "state", unbroken.tensors(), {})
    second.step(0)  # what it did before must not matter
    second.restore(load_tensors(tmp_path / "state"))
    for iteration in range(5, 9):
        assert unbroken.step(iteration) == second.step(iteration)
    ours, theirs = unbroken.tensors(), second.tensors()
    assert ours.keys() == theirs.keys()
    assert all(tensor.is_floating_point() and torch.equal(tensor, theirs[key]) for key, tensor in ours.items())
    other = start(batch=6, optimizer={"name": "lion" if name != "lion" else "adamw"})
    with pytest.raises(RunError, match=r"which is not what (lion|adamw) does"):
        other.restore(ours)


def test_the_default_is_what_training_has_always_done_bit_for_bit(start: Start) -> None:
    """Torch's AdamW, clipped at 1, with the averages of before, on the gradients of the same losses."""
    ours, theirs = start(), start()
    before = torch.optim.AdamW(theirs.weights.values(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    generator = torch.Generator()
    for iteration in range(6):
        loss = ours.step(iteration)
        warm_up = 2  # of 12
        cosine = 0.5 + 0.5 * math.cos(math.pi * (iteration - warm_up) / 10)
        before.param_groups[0]["lr"] = 1e-3 * ((iteration + 1) / warm_up if iteration < warm_up else cosine)
        seen, truth = theirs.batch(iteration)
        drawn = theirs.draw(seen, theirs.counts, iteration, generator)
        hull, importance = truth[:, 3:4], truth[:, 4:5]
        expected = face_loss(drawn.rgb, drawn.mask, truth[:, :3], hull, 0.05 + hull * (1 + 8 * importance))
        expected.backward()
        torch.nn.utils.clip_grad_norm_(theirs.weights.values(), 1.0)
        before.step()
        before.zero_grad()
        if iteration % 4 == 0:
            done = iteration // 4
            with torch.no_grad():
                for name, weight in theirs.weights.items():
                    theirs.average[name].lerp_(weight, 1 - min(0.95, (1 + done) / (10 + done)))
        assert loss == expected.item()
    for name, weight in ours.weights.items():
        assert torch.equal(weight, theirs.weights[name])
        assert torch.equal(ours.average[name], theirs.average[name])
        for key, value in before.state[theirs.weights[name]].items():
            assert torch.equal(ours.tensors()[f"{key}/{name}"], value)


def test_checkpoint_of_other_shapes_is_refused(start: Start) -> None:
    trainer = start(optimizer={"name": "lion"})
    trainer.step(0)
    name = next(iter(trainer.weights))
    with pytest.raises(RunError, match=rf"'exp_avg/{name}' of the checkpoint is \(6,\), not"):
        trainer.restore({**trainer.tensors(), f"exp_avg/{name}": torch.zeros(6)})


@pytest.mark.parametrize("name", NAMES)
def test_learning_rate_dropout_lets_the_rest_of_the_weights_step(name: str) -> None:
    weight = torch.zeros(200, 100, requires_grad=True)
    options = OptimizerOptions.model_validate({"name": name, "lr_dropout": 0.7})
    optimizer = build([weight], options, 0.1, CPU)
    stepped: list[Tensor] = []
    for iteration in range(3):
        before, path = weight.detach().clone(), path_of(optimizer, weight).clone()
        weight.grad = torch.ones(200, 100)
        improve(optimizer, [weight], options, iteration)
        stepped.append(weight.detach() != before)
        assert torch.equal(path_of(optimizer, weight) != path, stepped[-1])  # what stays, stays in z as well
    assert all(abs(moved.float().mean().item() - 0.3) < 0.02 for moved in stepped)
    assert abs((stepped[0] & stepped[1]).float().mean().item() - 0.09) < 0.02  # drawn anew


def test_what_is_chosen_is_independent_and_in_the_weights_layout() -> None:
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(101, 5, 3, 3).contiguous(memory_format=torch.channels_last)
    found = torch.stack([chosen(like, 0.3, generator) for _ in range(400)]).float()
    assert chosen(like, 0.3, generator).stride() == like.stride()
    assert found.mean().item() == pytest.approx(0.3, abs=0.004)
    assert found.mean(0).std().item() == pytest.approx(math.sqrt(0.3 * 0.7 / 400), rel=0.1)


def test_clipping_bounds_the_gradient_and_tells_the_norm() -> None:
    for clip, expected in ((0.0, 2.0), (1.0, 0.1)):
        weight = torch.zeros(4, requires_grad=True)
        options = OptimizerOptions(clip=clip)
        optimizer = build([weight], options, 0.1, CPU)
        weight.grad = torch.full((4,), 10.0)
        assert improve(optimizer, [weight], options, 0).item() == pytest.approx(20.0)
        assert weight.grad is None
        assert optimizer.state[weight]["exp_avg"].norm().item() == pytest.approx(expected)
    weight.grad = torch.tensor([1.0, float("nan"), 0.0, 0.0])
    assert not improve(optimizer, [weight], options, 0).isfinite()


@pytest.mark.parametrize(
    ("losses", "parts"), [({"masked": False}, 3), (EVERY_LOSS["losses"], 2), ({"identity": 0.1, "finish": 1.0}, 2)]
)
def test_accumulated_parts_have_the_gradient_of_the_whole_batch(losses: dict[str, object], parts: int) -> None:
    """Once each part divided by its own weights, and taught discriminators by a step of its own. In float32 rounding
    differs by 1e-6 of a gradient, and by 1e-3 of one that comes through all of SFace."""
    whole, cut = (
        followed(small_options(**{**EVERY_LOSS, "losses": losses, "optimizer": {"clip": 0, "accumulate": n}}), 1)
        for n in (1, parts)
    )
    for name, part in whole.losses.items():
        assert cut.losses[name].item() == pytest.approx(part.item(), rel=1e-4), name
    ours, theirs = whole.tensors(), cut.tensors()
    for player in ("", "gan/", "true_face/"):
        first, second = (
            torch.cat(
                [each[key].flatten() for key in [*ours] if key.startswith(f"{player}exp_avg/")] or [torch.ones(1)]
            )
            for each in (ours, theirs)
        )
        assert (first - second).norm() < (1e-2 if "identity" in losses else 1e-5) * first.norm()
    assert all(theirs[key] == 1 for key in theirs if "/step/" in key)


@pytest.mark.parametrize(("counts", "parts"), [((5, 3), 3), ((8, 8), 4), ((4, 5, 4), 3), ((5, 3), 1)])
def test_micro_batches_divide_everybody_evenly(counts: tuple[int, ...], parts: int) -> None:
    found = micro_batches(counts, parts)
    assert sorted(row for rows, _ in found for row in rows) == list(range(sum(counts)))
    assert tuple(map(sum, zip(*(of for _, of in found), strict=True))) == counts
    assert all(rows == sorted(rows) and min(of) >= 1 for rows, of in found)
    assert max(len(rows) for rows, _ in found) - min(len(rows) for rows, _ in found) <= 1


def test_more_parts_than_faces_are_refused(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"5 \+ 3 faces .* 4 parts.*1 to 3"):
        start(batch=8, optimizer={"accumulate": 4})


@pytest.mark.parametrize("name", NAMES)
def test_weights_for_predictions_have_less_noise(name: str) -> None:
    options = OptimizerOptions.model_validate({"name": name, "ema": 0.9})
    weight = torch.ones(200, requires_grad=True)
    optimizer = build([weight], options, 0.05 * KINDS[options.name].rate, CPU)
    average = {"w": weight.detach().clone()}
    noise = torch.Generator().manual_seed(0)
    for iteration in range(300):
        weight.grad = weight.detach() + torch.randn(200, generator=noise)
        improve(optimizer, [weight], options, 0)
        update_average(optimizer, {"w": weight}, average, iteration, options)
    noisy = path_of(optimizer, weight).norm()  # schedule-free's weights are nearly the average
    assert noisy < 10  # began at 14.1
    assert average["w"].norm() < 0.9 * noisy
    if name != "schedule-free":
        update_average(optimizer, {"w": weight}, average, 301, OptimizerOptions(ema=0.0))
        assert torch.equal(average["w"], weight.detach())


def test_lion_begins_with_a_smaller_rate(start: Start) -> None:
    assert start(optimizer={"name": "lion"}).rate == pytest.approx(start().rate / 10)
    assert start(optimizer={"name": "lion"}, learning_rate=1e-3).rate == 1e-3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "sgd"),
        ("betas", (0.9, 1.0)),
        ("betas", (-0.1, 0.9)),
        ("weight_decay", -1),
        ("weight_decay", 2),
        ("lr_dropout", 1),
        ("lr_dropout", -0.1),
        ("clip", -1),
        ("accumulate", 0),
        ("accumulate", 65),
        ("ema", 1),
        ("momentum", 0.9),
    ],
)
def test_nonsense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        OptimizerOptions.model_validate({field: value})


def test_schedule_free_needs_its_first_beta() -> None:
    with pytest.raises(ConfigError, match="needs a first beta above 0"):
        OptimizerOptions.parse({"name": "schedule-free", "betas": [0, 0.99]}, "here")
