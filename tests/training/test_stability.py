"""Faults that the stability checks must detect, and harmless curves."""

import json
import math

import numpy as np
import pytest
import torch

from visagist.training.stability import COLLAPSE_PATIENCE, CollapseWatch, LossWatch, output_variation


def settled(level: float = 0.2) -> LossWatch:
    watch = LossWatch()
    rng = np.random.default_rng(0)
    for i in range(300):
        assert watch.check((1.0 if i < 20 else level) * rng.uniform(0.8, 1.3)) is None
    return watch


@pytest.mark.parametrize("loss", [math.nan, math.inf, 5.0])
def test_one_exploded_loss_is_enough(loss: float) -> None:
    assert settled().check(loss) is not None


def test_an_explosion_right_at_the_start_is_noticed() -> None:
    watch = LossWatch()
    assert [watch.check(loss) for loss in (0.6, 0.7, 0.9, 1.5, 2.0)] == [None] * 5
    assert watch.check(40.0) is not None


def test_a_jump_that_stays_is_noticed_and_not_one_hard_batch() -> None:
    watch = settled()
    for loss in (0.6, 0.2, 0.6, 0.6, 0.2):
        assert watch.check(loss) is None
        assert (watch.high > 0) == (loss == 0.6)
    found = [watch.check(0.7) for _ in range(5)]
    assert found[:4] == [None] * 4
    assert "jumped" in str(found[4])


def test_a_slow_climb_is_noticed() -> None:
    watch = settled()
    reasons = [watch.check(0.2 * 1.005**i) for i in range(600)]
    first = next(i for i, reason in enumerate(reasons) if reason is not None)
    assert "climbed" in str(reasons[first])
    assert first < 400  # at 7 times the loss that it had


def test_a_loss_that_falls_and_wavers_is_well() -> None:
    watch = LossWatch()
    assert all(watch.check(loss) is None for loss in (0.1, *[0.9] * 20))  # the first losses fall and rise unevenly
    watch, rng = LossWatch(), np.random.default_rng(1)
    for i in range(3000):
        level = 0.15 + 0.5 / (1 + i / 100) + 0.05 * np.sin(i / 150)
        assert watch.check(float(level * rng.uniform(0.6, 1.6))) is None


@pytest.mark.parametrize("losses", [0, 3, 300])
def test_the_watch_continues_from_its_numbers(losses: int) -> None:
    watch = LossWatch()
    for loss in np.random.default_rng(0).uniform(0.2, 0.5, losses):
        watch.check(float(loss))
    assert LossWatch(**json.loads(json.dumps(watch.numbers(), allow_nan=False))) == watch


def test_a_collapse_of_one_identity_is_noticed() -> None:
    watch = CollapseWatch()
    for iteration in (100, 200):
        assert watch.check(iteration, {"variation_source": 0.8, "variation_target": 0.7}) is None
    for count in range(COLLAPSE_PATIENCE):
        assert "faces of target" in str(
            watch.check(300 + 100 * count, {"variation_source": 0.8, "variation_target": 0.02})
        )
        assert (watch.collapsed, watch.last_good) == (count + 1, 200)
    assert watch.check(600, {"variation_source": 0.8, "variation_target": 0.6}) is None
    assert (watch.collapsed, watch.last_good) == (0, 600)


@pytest.mark.parametrize("variations", [[0.01] * 50, [0.1, 0.5, 0.2, 0.5], [0.02, 0.1, 0.3, 0.7, 0.9]])
def test_faces_that_have_not_differed_yet_or_vary_less_for_once_are_no_collapse(variations: list[float]) -> None:
    watch = CollapseWatch()
    assert not any(watch.check(i, {"variation_source": variation}) for i, variation in enumerate(variations))


def test_variation_that_is_not_finite_is_a_collapse() -> None:
    assert CollapseWatch().check(1, {"variation_source": math.nan}) is not None


def test_variation_is_the_ratio_of_deviations_under_the_weights() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.uniform(size=(2, 6, 3, 5, 4))
    weights = rng.uniform(size=(6, 1, 5, 4))
    weights[:, :, 0] = 0
    predicted[:, :, 0] = 1e3 * predicted[:, :, 0]  # nothing counts there
    mean = weights.mean(0)
    expected = np.sqrt((predicted.var(0) * mean).sum() / (truth.var(0) * mean).sum())
    found = output_variation(*(torch.tensor(part, dtype=torch.float32) for part in (predicted, truth, weights)))
    assert found == pytest.approx(expected, rel=1e-5)
    one = torch.rand(1, 3, 8, 8).expand(4, -1, -1, -1)
    faces, everywhere = torch.rand(4, 3, 8, 8), torch.ones(4, 1, 8, 8)
    assert output_variation(one, faces, everywhere) == 0
    assert output_variation(faces, one, everywhere) == 1  # without variation of real faces, there is no ratio
