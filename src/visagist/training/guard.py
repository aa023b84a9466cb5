"""Notices when a training goes wrong, before hours are lost to it.

- `Guard`: looks at every loss; says when to go back to the last checkpoint

A loss that is not a number poisons all weights at once. A collapse - the network draws one grey face for everything -
shows as a loss that jumps and stays up. Both are usually cured by going back and taking smaller steps.
"""

import math
from dataclasses import dataclass

from visagist.errors import CollapseError

MEMORY = 0.98  # of the running mean an iteration
SETTLE = 100  # iterations before jumps count: the first losses fall fast and unevenly
JUMP = 2.0  # times the running mean
PATIENCE = 5  # iterations in a row
ATTEMPTS = 3  # how often a training may go back


@dataclass
class Guard:
    """Memory of the losses so far.

    >>> guard = Guard()
    >>> guard.verdict(0.5), guard.verdict(float("nan"))
    (None, 'the loss is not a number')
    """

    mean: float = 0.0
    seen: int = 0
    high: int = 0

    def verdict(self, loss: float) -> str | None:
        """What is wrong after an iteration with this loss, or None."""
        if not math.isfinite(loss):
            return "the loss is not a number"
        self.high = self.high + 1 if self.seen >= SETTLE and loss > JUMP * self.mean else 0
        if self.high >= PATIENCE:
            return f"the loss jumped from {self.mean:.3f} to {loss:.3f} and stayed there"
        memory = min(MEMORY, self.seen / (self.seen + 1))
        if not self.high:
            self.mean = memory * self.mean + (1 - memory) * loss
        self.seen += 1
        return None

    def numbers(self) -> dict[str, float]:
        """The memory as plain numbers, for a checkpoint."""
        return {"guard_mean": self.mean, "guard_seen": self.seen, "guard_high": self.high}

    @classmethod
    def of(cls, numbers: dict[str, float]) -> "Guard":
        """The guard whose `numbers` these are."""
        return cls(numbers["guard_mean"], int(numbers["guard_seen"]), int(numbers["guard_high"]))


def check_attempts(attempt: int, iteration: int, reason: str) -> None:
    """End a training that went wrong too often.

    Raises:
        CollapseError: this is one time more than it may.
    """
    if attempt >= ATTEMPTS:
        raise CollapseError(
            f"training went wrong {attempt + 1} times, last at iteration {iteration}: {reason}. The last good weights "
            "are kept. Look through the facesets for crops that are not this person's face, choose a smaller "
            "--learning-rate (half of what it was), or another --seed, and train into a new run"
        )
