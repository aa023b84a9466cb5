"""Learning rate and random warp over a training."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from visagist.core.device import select_device
from visagist.core.errors import ConfigError
from visagist.training import Crops, TrainOptions
from visagist.training.data import IdentityDataset
from visagist.training.schedule import Plan, ScheduleOptions, learning_rate, warp_strength
from visagist.training.trainer import Trainer

TOTALS = st.integers(1, 5000)
PARTS = st.floats(0, 1)


def courses(plan: Plan, options: ScheduleOptions) -> tuple[list[float], list[float]]:
    """Learning rate and warp strength of all iterations."""
    iterations = range(plan.total)
    return [learning_rate(i, plan, options) for i in iterations], [warp_strength(i, plan, options) for i in iterations]


@given(st.integers(0, 100), TOTALS, TOTALS, PARTS, PARTS, st.floats(0.01, 1))
def test_nothing_depends_on_the_end_before_the_cool_down(
    warm_up: int, total: int, other: int, cool_down: float, floor: float, warp_end: float
) -> None:
    options = ScheduleOptions(warm_up=warm_up, cool_down=cool_down, floor=floor, warp_end=warp_end)
    start = round(min(total, other) * (1 - cool_down))
    assume(warm_up <= start)
    first, second = (courses(Plan.of(each, options), options) for each in (total, other))
    for one, two in zip(first, second, strict=True):
        assert one[:start] == two[:start]


@given(TOTALS, PARTS, PARTS, st.floats(0.01, 1))
def test_the_rate_rises_to_1_stays_and_falls_to_its_floor_and_the_warp_fades(
    total: int, cool_down: float, floor: float, warp_end: float
) -> None:
    warm_up = min(60, round(total * (1 - cool_down)))
    options = ScheduleOptions(warm_up=warm_up, cool_down=cool_down, floor=floor, warp_end=warp_end)
    plan = Plan.of(total, options)
    assert 0 <= plan.warm_up <= plan.cool_down_start <= plan.total == total
    rates, warps = courses(plan, options)
    assert rates[: plan.warm_up] == sorted(rates[: plan.warm_up])
    assert set(rates[max(0, plan.warm_up - 1) : plan.cool_down_start]) <= {1.0}
    assert rates[plan.cool_down_start :] == sorted(rates[plan.cool_down_start :], reverse=True)
    assert min(rates[plan.cool_down_start :], default=floor) >= floor
    assert set(warps[: plan.cool_down_start]) <= {1.0}
    assert warps == sorted(warps, reverse=True)
    assert all(plan.is_finishing(i) == (i >= plan.cool_down_start) for i in range(total + 1))
    after = Plan.of(10 * total, options)
    assert learning_rate(10 * total, after, options) == pytest.approx(floor if cool_down else 1.0, abs=1e-6) or (
        after.cool_down_start == after.total
    )


@given(TOTALS, TOTALS, PARTS, st.data())
def test_a_training_of_another_length_cools_down_as_if_planned_so_or_from_where_it_is(
    total: int, other: int, cool_down: float, data: st.DataObject
) -> None:
    options = ScheduleOptions(warm_up=0, cool_down=cool_down)
    plan = Plan.of(total, options)
    position = data.draw(st.integers(0, min(plan.cool_down_start, other)))
    resized, planned = plan.resized(other, position, options), Plan.of(other, options)
    assert (resized.warm_up, resized.total) == (0, other)
    assert resized.cool_down_start == max(planned.cool_down_start, position)
    cut = plan.cut_short(position, options)
    assert position == cut.cool_down_start <= cut.total <= total


def test_the_cool_down_falls_as_one_minus_a_root() -> None:
    plan, options = Plan.of(1000, ScheduleOptions()), ScheduleOptions(floor=0.2)
    assert learning_rate(775, plan, options) == pytest.approx(0.2 + 0.8 * (1 - math.sqrt(0.25)))


def test_a_warm_up_that_reaches_into_the_cool_down_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--schedule\.warm-up 10 .* at most 8"):
        Plan.of(12, ScheduleOptions(warm_up=10))


@pytest.fixture
def trainer(crops: dict[str, Crops], options: Callable[..., TrainOptions]) -> Callable[..., Trainer]:
    """A trainer of 12 iterations."""
    compute = select_device("cpu")
    datasets = {name: IdentityDataset(each, 0.2, compute.device) for name, each in crops.items()}

    def make(**changes: object) -> Trainer:
        asked = options(**changes)
        return Trainer(datasets, asked, Plan.of(12, asked.schedule), compute)

    return make


def test_a_training_follows_its_schedule(trainer: Callable[..., Trainer]) -> None:
    found = trainer(schedule={"warm_up": 0, "floor": 0.5, "cool_down": 0.5})
    found.step(9)
    assert found.optimizer.param_groups[0]["lr"] == pytest.approx((0.5 + 0.5 * (1 - math.sqrt(0.5))) * found.rate)


def test_the_random_warp_fades_during_the_cool_down(trainer: Callable[..., Trainer]) -> None:
    def seen(iteration: int, warp: float = 0.014) -> torch.Tensor:
        schedule = {"warm_up": 0, "cool_down": 0.5, "warp_end": 0.5}
        return trainer(schedule=schedule, augmentation={"warp": warp}).batch(iteration)[0]

    for iteration, strength in ((6, 1.0), (8, 1 / 3), (9, 0.0), (11, 0.0)):
        assert torch.allclose(seen(iteration), seen(iteration, warp=0.0)) == (strength == 0)
        assert torch.allclose(seen(iteration), seen(iteration, warp=0.02)) == (strength == 0)
