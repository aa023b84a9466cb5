"""Stability checks: exploding losses and mode collapse.

An explosion shows as one huge loss, a lasting jump or a slow climb; a rollback with smaller steps usually cures it.
After a mode collapse (one grey face for every input) the loss may be almost unchanged, but predicted faces no longer
differ from each other, which validation measures; a training that does not recover is stopped.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

MAX_ROLLBACKS = 3
MEAN_DECAY = 0.98  # of the running mean per iteration
MIN_HISTORY = 100  # iterations before jumps count, since the first losses fall fast and unevenly
JUMP_FACTOR, JUMP_PATIENCE = 2.0, 5  # relative to the running mean, for that many iterations in a row
EXPLOSION_FACTOR = 20.0  # relative to the running mean, in a single iteration
CLIMB_FACTOR = 3.0  # relative to the lowest running mean

MIN_VARIATION = 0.2  # variation, relative to real faces, from which a collapse can be detected
COLLAPSE_FRACTION = 0.25  # of the largest variation so far
COLLAPSE_PATIENCE = 3  # validations in a row


@dataclass
class LossWatch:
    """Running statistics of the reconstruction loss."""

    mean: float = 0.0  # running mean
    seen: float = 0.0  # number of losses so far
    high: float = 0.0  # length of the current jump; above 0, nothing is saved
    lowest: float = math.inf  # lowest running mean since the losses settled

    def check(self, loss: float) -> str | None:
        """Add the loss of an iteration; returns the fault it reveals, or None.

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
        """The finite statistics, for a checkpoint; JSON has no infinity."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}


@dataclass
class CollapseWatch:
    """Variation of predicted validation faces, by identity."""

    largest: dict[str, float] = field(default_factory=dict)  # variation so far
    collapsed: int = 0  # collapsed validations in a row
    last_good: int = 0  # iteration of the last good validation

    def check(self, iteration: int, metrics: Mapping[str, float]) -> str | None:
        """Add the metrics of a validation; returns the collapse they reveal, or None.

        >>> watch = CollapseWatch()
        >>> watch.check(100, {"variation_source": 0.7}), watch.check(200, {"variation_source": 0.01})
        (None, 'predicted faces of source are all the same: variation 0.01 relative to real faces, before 0.70')
        """
        for key, variation in metrics.items():
            if not key.startswith("variation_"):
                continue
            name = key.removeprefix("variation_")
            largest = self.largest.get(name, 0.0)
            if not math.isfinite(variation) or (largest >= MIN_VARIATION and variation < COLLAPSE_FRACTION * largest):
                self.collapsed += 1
                return (
                    f"predicted faces of {name} are all the same: variation {variation:.2f} relative to real faces, "
                    f"before {largest:.2f}"
                )
            self.largest[name] = max(largest, variation)
        self.collapsed, self.last_good = 0, iteration
        return None


@torch.no_grad()
def output_variation(predicted: Tensor, truth: Tensor, weights: Tensor) -> float:
    """Variation of predicted faces relative to real ones: 1 for equal variation, 0 if all predictions are the same.

    The square root of the ratio of pixel variances over the batch, weighted by `weights`. Blur alone lowers it to about
    0.6.

    Args:
        predicted: `(B, 3, H, W)` faces in [0, 1] of one identity, B >= 2.
        truth: the real faces, same shape.
        weights: `(B, 1, H, W)` >= 0, such as the hulls.

    Returns:
        A number >= 0; 1 if the real faces are all the same.

    >>> faces = torch.rand(4, 3, 8, 8)
    >>> round(output_variation(faces / 2, faces, torch.ones(4, 1, 8, 8)), 4)
    0.5
    """
    weight = weights.float().mean(0)  # (1, H, W)
    of_predicted, of_truth = (
        ((faces - faces.mean(0)).square().mean(0) * weight).sum().item() for faces in (predicted.float(), truth.float())
    )
    return math.sqrt(of_predicted / of_truth) if of_truth > 0 else 1.0
