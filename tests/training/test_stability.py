"""Faults that a guard must see, put into trainings that were well until then."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from visagist.core.device import choose
from visagist.training import Crops, TrainOptions
from visagist.training.data.crops import Side
from visagist.training.stability import Guard, output_variation
from visagist.training.trainer import Trainer


def settled(level: float = 0.2) -> Guard:
    guard = Guard()
    rng = np.random.default_rng(0)
    for i in range(300):
        assert guard.verdict((1.0 if i < 20 else level) * rng.uniform(0.8, 1.3)) is None
    return guard


def test_one_exploded_loss_is_enough() -> None:
    reason = settled().verdict(5.0)
    assert reason is not None
    assert "exploded from 0.2" in reason


def test_an_explosion_right_at_the_start_is_seen() -> None:
    guard = Guard()
    assert [guard.verdict(loss) for loss in (0.6, 0.7, 0.9, 1.5, 2.0)] == [None] * 5
    assert guard.verdict(40.0) is not None


def test_a_loss_that_climbs_too_slowly_to_jump_is_seen() -> None:
    guard = settled()
    reasons = [guard.verdict(0.2 * 1.005**i) for i in range(600)]
    first = next(i for i, reason in enumerate(reasons) if reason is not None)
    assert "climbed" in str(reasons[first])
    assert first < 400  # at 7 times the loss that it had


def test_a_loss_that_falls_and_wavers_is_well() -> None:
    guard = Guard()
    rng = np.random.default_rng(1)
    for i in range(3000):
        level = 0.15 + 0.5 / (1 + i / 100) + 0.05 * np.sin(i / 150)
        assert guard.verdict(float(level * rng.uniform(0.6, 1.6))) is None


def test_a_network_that_never_draws_faces_that_differ_is_seen() -> None:
    guard = Guard()
    reasons = [guard.variation_verdict("source", 0.001) for _ in range(200)]
    assert reasons[:199] == [None] * 199
    assert "all alike after 200 looks" in str(reasons[199])


def test_people_are_told_apart() -> None:
    guard = Guard()
    for _ in range(50):
        assert guard.variation_verdict("source", 0.8) is None
        assert guard.variation_verdict("target", 0.7) is None
    fallen = [(guard.variation_verdict("source", 0.8), guard.variation_verdict("target", 0.02)) for _ in range(20)]
    assert all(source is None for source, _ in fallen)
    assert "drawn of target became all alike" in next(target for _, target in fallen if target is not None)


def test_one_look_at_faces_that_are_alike_by_chance_is_passed_over() -> None:
    guard = Guard()
    for look in range(100):
        assert guard.variation_verdict("source", 0.05 if look % 10 == 9 else 0.8) is None


def test_variation_that_is_not_a_number_is_seen() -> None:
    assert Guard().variation_verdict("source", float("nan")) is not None


def test_guard_continues_from_its_numbers() -> None:
    guard = settled()
    for variation in (0.3, 0.5, 0.6):
        guard.variation_verdict("a person/with a slash", variation)
        guard.variation_verdict("target", variation / 2)
    numbers = json.loads(json.dumps(guard.numbers()))
    assert all(isinstance(value, int | float) for value in numbers.values())
    assert Guard.of(numbers) == guard
    assert Guard.of(json.loads(json.dumps(Guard().numbers()))) == Guard()


def test_numbers_of_a_run_from_before_are_taken() -> None:
    guard = Guard.of({"rate": 1e-3, "attempt": 0, "guard_mean": 0.3, "guard_seen": 250, "guard_high": 1})
    assert (guard.mean, guard.seen, guard.high) == (0.3, 250, 1)
    assert guard.verdict(0.3) is None


def test_variation_is_the_ratio_of_deviations_under_the_weights() -> None:
    rng = np.random.default_rng(0)
    drawn, truth = rng.uniform(size=(2, 6, 3, 5, 4))
    weights = rng.uniform(size=(6, 1, 5, 4))
    weights[:, :, 0] = 0
    drawn[:, :, 0] = 1e3 * drawn[:, :, 0]  # nothing counts there
    mean = weights.mean(0)
    expected = np.sqrt((drawn.var(0) * mean).sum() / (truth.var(0) * mean).sum())
    found = output_variation(*(torch.tensor(part, dtype=torch.float32) for part in (drawn, truth, weights)))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_variation_is_0_of_one_face_and_1_where_nothing_can_be_told() -> None:
    faces, weights = torch.rand(4, 3, 8, 8), torch.ones(4, 1, 8, 8)
    one = faces[:1].expand(4, -1, -1, -1)
    assert output_variation(one, faces, weights).item() == 0
    assert output_variation(faces, one, weights).item() == 1
    assert output_variation(faces, faces, weights).item() == pytest.approx(1)


@pytest.fixture
def trainer(source: Crops, target: Crops, options: Callable[..., TrainOptions]) -> Trainer:
    compute = choose("cpu")
    sides = {"source": Side(source, 0.2, compute.device), "target": Side(target, 0.2, compute.device)}
    return Trainer(sides, options(iterations=400, learning_rate=3e-3, batch=8), 400, compute)


def looks(trainer: Trainer, guard: Guard, begin: int, end: int) -> list[str]:
    """What a guard says of some iterations."""
    reasons: list[str] = []
    for iteration in range(begin, end):
        reasons += filter(None, [guard.verdict(trainer.step(iteration))])
        for name, variation in trainer.variations.items():
            reasons += filter(None, [guard.variation_verdict(name, variation.item())])
    return reasons


def test_faults_put_into_a_training_are_seen(trainer: Trainer) -> None:
    guard = Guard()
    assert looks(trainer, guard, 0, 120) == []
    assert guard.variations["source"][1] > 0.3  # it has learnt to tell them apart
    numbers, state = guard.numbers(), {name: tensor.clone() for name, tensor in trainer.tensors().items()}

    with torch.no_grad():
        trainer.weights["encoder.squeeze.weight"][0, 0] = float("inf")
    assert looks(trainer, Guard.of(numbers), 120, 121)

    trainer.restore(state)
    with torch.no_grad():
        for name, weight in trainer.weights.items():
            if name.endswith("draw.bias"):
                weight.sub_(20.0)  # black faces
    rate, trainer.rate = trainer.rate, 0.0
    assert any("jumped" in reason or "exploded" in reason for reason in looks(trainer, Guard.of(numbers), 120, 125))

    trainer.restore(state)
    trainer.rate = rate
    last = trainer.weights["decoders.0.draw.weight"]
    with torch.no_grad():
        last.zero_()  # from now on one grey face of the source for everything
    last.requires_grad_(False)
    reasons = looks(trainer, Guard.of(numbers), 120, 200)
    assert any("drawn of source became all alike" in reason for reason in reasons)
    assert not any("target" in reason for reason in reasons)
