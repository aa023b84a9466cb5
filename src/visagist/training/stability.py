"""Stability checks: exploding losses and mode collapse.

An explosion shows as one huge loss, as a jump that stays, or as a slow climb; going back and taking smaller steps
usually cures it. After a mode collapse (one grey face for everything) the loss may be nearly what it was, but predicted
faces no longer differ from each other, which validation measures; a training that does not recover is stopped.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

MAX_ROLLBACKS = 3
MEAN_DECAY = 0.98  # of the running mean per iteration
MIN_HISTORY = 100  # iterations before jumps count: the first losses fall fast and unevenly
JUMP_FACTOR, JUMP_PATIENCE = 2.0, 5  # times the running mean, iterations in a row
EXPLOSION_FACTOR = 20.0  # times the running mean: once is enough
CLIMB_FACTOR = 3.0  # times the lowest running mean

MIN_VARIATION = 0.2  # variation, relative to that of real faces, from which a network has begun to tell faces apart
COLLAPSE_FRACTION = 0.25  # of the largest variation so far
COLLAPSE_PATIENCE = 3  # validations in a row


@dataclass
class LossWatch:
    """Running statistics of the reconstruction losses, which act during the whole training."""

    mean: float = 0.0  # running mean
    seen: float = 0.0  # losses so far
    high: float = 0.0  # how many in a row jumped; above 0, the state may be bad and is not saved
    lowest: float = math.inf  # lowest running mean since the losses settled

    def check(self, loss: float) -> str | None:
        """The fault that the loss of an iteration shows, or None.

        >>> watch = LossWatch()
        >>> watch.check(0.5), watch.check(float("nan"))
        (None, 'the loss is not finite')
        """
        if not math.isfinite(loss):
            return "the loss is not finite"
        if self.seen >= JUMP_PATIENCE and loss > EXPLOSION_FACTOR * self.mean:
            return f"the loss exploded from {self.mean:.3f} to {loss:.3g}"
        self.high = self.high + 1 if self.seen >= MIN_HISTORY and loss > JUMP_FACTOR * self.mean else 0.0
        if self.high >= JUMP_PATIENCE:
            return f"the loss jumped from {self.mean:.3f} to {loss:.3f} and stayed there"
        memory = min(MEAN_DECAY, self.seen / (self.seen + 1))
        if not self.high:
            self.mean = memory * self.mean + (1 - memory) * loss
        self.seen += 1
        if self.seen >= MIN_HISTORY:
            self.lowest = min(self.lowest, self.mean)
            if self.mean > CLIMB_FACTOR * self.lowest:
                return f"the loss climbed from {self.lowest:.3f} to {self.mean:.3f}"
        return None

    def numbers(self) -> dict[str, float]:
        """The statistics for a checkpoint; JSON has no infinity."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}


@dataclass
class CollapseWatch:
    """How much predicted validation faces vary, by identity."""

    largest: dict[str, float] = field(default_factory=dict)  # variation so far
    collapsed: int = 0  # validations in a row that showed a collapse
    last_good: int = 0  # iteration of the last validation that did not

    def check(self, iteration: int, metrics: Mapping[str, float]) -> str | None:
        """The collapse that the metrics of a validation show, or None.

        >>> watch = CollapseWatch()
        >>> watch.check(100, {"variation_source": 0.7}), watch.check(200, {"variation_source": 0.01})
        (None, 'the faces predicted as source are all alike: they vary 0.01 of what real ones do, before 0.70')
        """
        for key, variation in metrics.items():
            if not key.startswith("variation_"):
                continue
            name = key.removeprefix("variation_")
            largest = self.largest.get(name, 0.0)
            if not math.isfinite(variation) or (largest >= MIN_VARIATION and variation < COLLAPSE_FRACTION * largest):
                self.collapsed += 1
                return (
                    f"the faces predicted as {name} are all alike: they vary {variation:.2f} of what real ones do, "
                    f"before {largest:.2f}"
                )
            self.largest[name] = max(largest, variation)
        self.collapsed, self.last_good = 0, iteration
        return None


@torch.no_grad()
def output_variation(predicted: Tensor, truth: Tensor, weights: Tensor) -> float:
    """How much predicted faces differ from each other, relative to the real ones.

    The root of the ratio of the pixels' variances over the batch, under `weights`: 1 as different as real faces, 0 all
    the same. Blur alone brings it to about 0.6.

    Args:
        predicted: `(B, 3, H, W)` faces in [0, 1] of one identity, B >= 2.
        truth: the real faces, same shape.
        weights: `(B, 1, H, W)` >= 0, such as the hulls.

    Returns:
        A number >= 0; 1 if the real faces are all the same, which shows nothing.

    >>> faces = torch.rand(4, 3, 8, 8)
    >>> round(output_variation(faces / 2, faces, torch.ones(4, 1, 8, 8)), 4)
    0.5
    """
    weight = weights.float().mean(0)  # (1, H, W)
    of_predicted, of_truth = (
        ((faces - faces.mean(0)).square().mean(0) * weight).sum().item() for faces in (predicted.float(), truth.float())
    )
    return math.sqrt(of_predicted / of_truth) if of_truth > 0 else 1.0
