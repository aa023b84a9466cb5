"""The duration of a training: minutes to iterations, and iterations to seconds."""

import time
from collections.abc import Mapping
from statistics import median

import numpy as np

from visagist.core.device import Compute, select_device
from visagist.core.events import EventCallback, Note
from visagist.models import configure
from visagist.training.config import TrainOptions
from visagist.training.data import Crops, IdentityDataset
from visagist.training.distributed import World
from visagist.training.run import STEP, duration, speed
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer

TIMED_ITERATIONS, DISCARDED_ITERATIONS = 9, 3  # the first ones are slower
MEASURED_AFTER = DISCARDED_ITERATIONS + TIMED_ITERATIONS  # iterations after which a training reports its duration
OVERHEAD = 0.05  # fraction of the time spent on checkpoints, previews and validation
CONSTANT = Plan(warm_up=0, cool_down_start=10**6, total=10**6)  # a training before its cool-down
COOLING = Plan(warm_up=0, cool_down_start=0, total=10**6)


def plan_iterations(
    datasets: Mapping[str, IdentityDataset],
    options: TrainOptions,
    compute: Compute,
    events: EventCallback,
    minutes: float,
) -> int:
    """Convert minutes to iterations by timing a few on a throwaway network."""
    start = time.perf_counter()
    seconds = seconds_per_iteration(datasets, options, compute)
    left = max(0.0, 60 * minutes - (time.perf_counter() - start))
    # Timings differ between processes, but the plan must not.
    iterations = World.current().broadcast_number(max(1, int(left * (1 - OVERHEAD) / seconds)))
    rate = speed(options.batch / seconds)
    events(Note(STEP, f"{compute}: {rate}, so {duration(60 * minutes)} are {iterations} iterations"))
    return iterations


def estimate_seconds(options: TrainOptions) -> float:
    """Estimate the duration of a training before any faces are extracted, by timing it on noise for a few seconds.

    Args:
        options: with `iterations`; `minutes` are simply converted.

    Raises:
        ConfigError: an unknown model, setting or device.
    """
    if options.iterations is None:
        return 60.0 * (options.minutes or 0.0)
    compute = select_device(options.device)
    side = round(configure(options.model, options.settings).size * options.margin)
    noise = np.random.default_rng(0).integers(0, 256, (32, side, side, 3), np.uint8)
    crops = Crops(noise, np.full((32, side, side), 255, np.uint8), name="noise")
    datasets = {name: IdentityDataset(crops, options.held_out, compute.device) for name in ("source", "target")}
    return seconds_per_iteration(datasets, options, compute) * options.iterations * (1 + OVERHEAD)


def seconds_per_iteration(datasets: Mapping[str, IdentityDataset], options: TrainOptions, compute: Compute) -> float:
    """Mean over a whole training; finishing losses, which may double the duration, are timed separately."""
    seconds = _measured(datasets, options, compute, CONSTANT)
    if options.losses.finishing:
        seconds += options.schedule.cool_down * (_measured(datasets, options, compute, COOLING) - seconds)
    return seconds


def _measured(datasets: Mapping[str, IdentityDataset], options: TrainOptions, compute: Compute, plan: Plan) -> float:
    trainer = Trainer(datasets, options, plan, compute)
    times: list[float] = []
    for iteration in range(DISCARDED_ITERATIONS + TIMED_ITERATIONS):
        before = time.perf_counter()
        trainer.step(iteration).item()
        times.append(time.perf_counter() - before)
    return median(times[DISCARDED_ITERATIONS:])
