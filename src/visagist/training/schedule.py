"""The schedule of a training: warm-up, constant learning rate, cool-down.

Only the cool-down depends on the length of a training: the learning rate falls, the random warp fades and finishing
losses act. So a training can be extended from the start of its cool-down as if it had been planned longer (Hägele et
al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations").
"""

import math
from typing import Annotated

from pydantic import Field

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings, shown

WARM_UP = 60  # iterations


class ScheduleOptions(Settings):
    """Warm-up and cool-down of a training."""

    group = "Optimizer and schedule"

    warm_up: Annotated[int | None, shown(unit="iterations")] = Field(default=None, ge=0, le=100_000)
    """Length of the warm-up, in which the learning rate rises to its full value; 60 by default."""

    cool_down: float = Field(default=0.3, ge=0, le=1)
    """Fraction of the training, at its end, in which the learning rate falls, the random warp fades out and finishing
    losses act. 0 for a training without a fixed end; 1 applies finishing losses from the start."""

    floor: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the end, relative to the full one; 1 keeps it constant, for `schedule-free`."""

    warp_end: float = Field(default=0.6, gt=0, le=1)
    """Fraction of the cool-down in which the random warp fades out. Lower it for sharper eyes and teeth; raise it if
    the swap looks too much like the target."""


class Plan(Settings):
    """The schedule of one training, in iterations."""

    warm_up: int
    cool_down_start: int
    total: int

    @classmethod
    def of(cls, total: int, options: ScheduleOptions) -> "Plan":
        """The plan of a new training.

        Raises:
            ConfigError: the warm-up reaches into the cool-down.

        >>> Plan.of(1000, ScheduleOptions())
        Plan(warm_up=60, cool_down_start=700, total=1000)
        """
        start = round(total * (1 - options.cool_down))
        warm_up = WARM_UP if options.warm_up is None else options.warm_up
        if options.warm_up is not None and warm_up > start:
            raise ConfigError(
                f"--schedule.warm-up {warm_up} reaches into the cool-down of {total} iterations, which starts at "
                f"{start}; give at most {start}"
            )
        return cls(warm_up=warm_up, cool_down_start=start, total=total)

    def resized(self, total: int, position: int, options: ScheduleOptions) -> "Plan":
        """The plan with another total; its cool-down starts at `position` or later."""
        start = min(total, max(round(total * (1 - options.cool_down)), position))
        return self.model_copy(update={"cool_down_start": start, "total": total})

    def cut_short(self, position: int, options: ScheduleOptions) -> "Plan":
        """The plan with a cool-down that starts at `position` and ends early.

        >>> Plan.of(1000, ScheduleOptions()).cut_short(350, ScheduleOptions())
        Plan(warm_up=60, cool_down_start=350, total=500)
        """
        left = round(position / max(1 - options.cool_down, 0.1))
        return self.model_copy(update={"cool_down_start": position, "total": min(self.total, left)})

    def is_finishing(self, iteration: int) -> bool:
        """Whether the cool-down has begun."""
        return iteration >= self.cool_down_start

    def cooled(self, iteration: int) -> float:
        """Completed fraction of the cool-down at the start of an iteration."""
        length = self.total - self.cool_down_start
        return min(1.0, max(0, iteration - self.cool_down_start) / length) if length else 0.0


def learning_rate(iteration: int, plan: Plan, options: ScheduleOptions) -> float:
    """Factor of the learning rate: linear warm-up, constant, then 1 - sqrt cool-down.

    >>> plan = Plan.of(1000, ScheduleOptions())
    >>> [round(learning_rate(i, plan, ScheduleOptions()), 2) for i in (0, 59, 699, 775, 999)]
    [0.02, 1.0, 1.0, 0.5, 0.0]
    """
    warm = min(1.0, (iteration + 1) / plan.warm_up) if plan.warm_up else 1.0
    return warm * (options.floor + (1 - options.floor) * (1 - math.sqrt(plan.cooled(iteration))))


def warp_strength(iteration: int, plan: Plan, options: ScheduleOptions) -> float:
    """Factor of the random warp: 1 until the cool-down, then fading to 0.

    The warp teaches identity; without it, the end teaches sharp, exactly placed eyes.

    >>> plan = Plan.of(1000, ScheduleOptions())
    >>> [round(warp_strength(i, plan, ScheduleOptions()), 2) for i in (0, 700, 790, 880, 999)]
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return max(0.0, 1 - plan.cooled(iteration) / options.warp_end)
