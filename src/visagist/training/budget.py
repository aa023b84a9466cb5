"""How long a training takes: minutes to iterations, and iterations to seconds."""

import itertools
import time
from collections.abc import Mapping
from statistics import median

import numpy as np

from visagist.core.device import Compute, choose
from visagist.core.events import EventCallback, Note
from visagist.models import configure
from visagist.training.config import TrainOptions
from visagist.training.data import Crops, IdentityDataset
from visagist.training.distributed import World
from visagist.training.rate_finder import RateCurve, range_test
from visagist.training.run import speed
from visagist.training.schedule import Plan
from visagist.training.signals import STEP
from visagist.training.trainer import Trainer
from visagist.training.warm_start import Start

RATES, TRIED = (1e-6, 0.1), 100  # learning rates of the range test, and its iterations
MEASURED, DISCARDED = 9, 3  # iterations
BESIDES = 0.05  # part of the time that checkpoints, previews and validation take
CONSTANT = Plan(warm_up=0, cool_down_start=10**6, total=10**6)  # a training before its cool-down
COOLING = Plan(warm_up=0, cool_down_start=0, total=10**6)


def plan_iterations(
    datasets: Mapping[str, IdentityDataset],
    options: TrainOptions,
    compute: Compute,
    events: EventCallback,
    minutes: float,
) -> int:
    """Turn minutes into iterations, by measuring some on a network that is thrown away.

    Finishing losses are measured by themselves: a discriminator may take twice the time of everything else.
    """
    start = time.perf_counter()
    each = seconds_per_iteration(datasets, options, compute)
    left = max(0.0, 60 * minutes - (time.perf_counter() - start))
    iterations = World.now().agreed(max(1, int(left * (1 - BESIDES) / each)))  # clocks differ, the plan may not
    rate = speed(options.batch / each)
    events(Note(STEP, f"{compute}: {rate}, so {minutes:g} minutes are {iterations} iterations"))
    return iterations


def seconds_per_iteration(datasets: Mapping[str, IdentityDataset], options: TrainOptions, compute: Compute) -> float:
    """Seconds of an iteration, averaged over the whole course of a training."""
    each = _measured(datasets, options, compute, CONSTANT)
    if options.losses.finishing:
        each += options.schedule.cool_down * (_measured(datasets, options, compute, COOLING) - each)
    return each


def _measured(datasets: Mapping[str, IdentityDataset], options: TrainOptions, compute: Compute, plan: Plan) -> float:
    trainer = Trainer(datasets, options, plan, compute)
    times: list[float] = []
    for iteration in range(DISCARDED + MEASURED):
        before = time.perf_counter()
        trainer.step(iteration).item()
        times.append(time.perf_counter() - before)
    return median(times[DISCARDED:])


def estimate_seconds(options: TrainOptions) -> float:
    """Duration of a training before there are any faces, measured on noise; takes a few seconds itself.

    Args:
        options: with `iterations`; `minutes` are taken at their word.

    Raises:
        ConfigError: an unknown model, setting or device.
    """
    if options.iterations is None:
        return 60.0 * (options.minutes or 0.0)
    compute = choose(options.device)
    side = round(configure(options.model, options.settings).size * options.margin)
    noise = np.random.default_rng(0).integers(0, 256, (32, side, side, 3), np.uint8)
    crops = Crops(noise, np.full((32, side, side), 255, np.uint8), name="noise")
    datasets = {name: IdentityDataset(crops, options.held_out, compute.device) for name in ("source", "target")}
    return seconds_per_iteration(datasets, options, compute) * options.iterations * (1 + BESIDES)


def find_rate(
    datasets: Mapping[str, IdentityDataset], options: TrainOptions, compute: Compute, start: Start | None
) -> RateCurve:
    """Try learning rates on a network that is thrown away."""
    trainer = Trainer(datasets, options, CONSTANT, compute, start)
    iterations = itertools.count()

    def step(rate: float) -> float:
        trainer.rate = rate
        return trainer.step(next(iterations)).item()

    return range_test(step, *RATES, TRIED)
