"""Notices when a training goes wrong, before hours are lost to it.

- `Guard`: looks at every loss, and at times at the variation of the drawn faces; says when to go back
- `output_variation`: how much drawn faces differ from each other, against real ones
- `check_attempts`: ends a training that went back too often

A loss that is not a number poisons all weights at once. An explosion shows as one loss far above all before, as a
jump that stays, or as a slow climb. A collapse - the network draws one grey face for everything - may leave the loss
nearly where it was, for the mean face is not far from any; but then the faces that it draws no longer differ. All of
them are usually cured by going back and taking smaller steps.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from visagist.core.errors import CollapseError

MEMORY = 0.98  # of the running mean an iteration
SETTLE = 100  # iterations before jumps count: the first losses fall fast and unevenly
JUMP = 2.0  # times the running mean
PATIENCE = 5  # iterations in a row
EXPLODED = 20.0  # times the running mean: once is enough
CLIMB = 3.0  # times the lowest running mean: no single loss jumped, and yet
ATTEMPTS = 3  # how often a training may go back

VARIATION_MEMORY = 0.8  # of the running mean of variation a look
ALIVE = 0.2  # variation, as a part of the real faces', from which a network has begun to tell faces apart
COLLAPSED = 0.25  # part of the largest running mean that is left
DOUBTED = 0.5  # the same of a single look: not to be saved, until more looks have told
UNBORN = 0.02  # variation that is none
BORN_BY = 200  # looks by which a network must draw faces that differ


@dataclass
class Guard:
    """Memory of the losses, and of the variations, so far.

    The losses are those of faces drawn as themselves (`Trainer.likeness`), or not a number where anything else is not:
    what else is minimised acts in a part of the training only, and its coming is no jump. Runs of before remember the
    sums of all; that is more, and forgotten in some hundred iterations.

    Attributes:
        mean: running mean of the losses.
        seen: losses so far.
        high: how many in a row jumped.
        lowest: lowest running mean since the losses settled; infinite until then.
        variations: of each person the running mean of the variation, the largest that it has been, and looks so far.
        doubted: people of whom the latest look saw faces much more alike than they were.

    >>> guard = Guard()
    >>> guard.verdict(0.5), guard.verdict(float("nan"))
    (None, 'the loss is not a number')
    """

    mean: float = 0.0
    seen: int = 0
    high: int = 0
    lowest: float = math.inf
    variations: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)

    @property
    def is_suspicious(self) -> bool:
        """Whether something may be going wrong, so that the state now is not one to go back to.

        >>> guard = Guard()
        >>> for _ in range(20):
        ...     assert guard.variation_verdict("source", 0.7) is None
        >>> guard.is_suspicious, guard.variation_verdict("source", 0.1), guard.is_suspicious
        (False, None, True)
        """
        return self.high > 0 or bool(self.doubted)

    def verdict(self, loss: float) -> str | None:
        """What is wrong after an iteration with this loss, or None."""
        if not math.isfinite(loss):
            return "the loss is not a number"
        if self.seen >= PATIENCE and loss > EXPLODED * self.mean:
            return f"the loss exploded from {self.mean:.3f} to {loss:.3g}"
        self.high = self.high + 1 if self.seen >= SETTLE and loss > JUMP * self.mean else 0
        if self.high >= PATIENCE:
            return f"the loss jumped from {self.mean:.3f} to {loss:.3f} and stayed there"
        memory = min(MEMORY, self.seen / (self.seen + 1))
        if not self.high:
            self.mean = memory * self.mean + (1 - memory) * loss
        self.seen += 1
        if self.seen >= SETTLE:
            self.lowest = min(self.lowest, self.mean)
            if self.mean > CLIMB * self.lowest:
                return f"the loss climbed from {self.lowest:.3f} to {self.mean:.3f}"
        return None

    def variation_verdict(self, identity: str, variation: float) -> str | None:
        """What is wrong after a look at the faces drawn of one person, or None.

        Args:
            identity: whose faces they are.
            variation: `output_variation` of them.

        >>> guard = Guard()
        >>> {guard.variation_verdict("source", 0.7) for _ in range(20)}
        {None}
        >>> [reason for _ in range(20) if (reason := guard.variation_verdict("source", 0.01))][0]
        'the faces drawn of source became all alike: they vary 0.15 of what real ones do, before 0.70'
        """
        if not math.isfinite(variation):
            return f"the faces drawn of {identity} are not numbers"
        mean, largest, looks = self.variations.get(identity, (0.0, 0.0, 0))
        memory = min(VARIATION_MEMORY, looks / (looks + 1))
        mean = memory * mean + (1 - memory) * variation
        looks += 1
        if looks >= PATIENCE:  # the mean of a look or two says little
            largest = max(largest, mean)
        self.variations[identity] = (mean, largest, looks)
        self.doubted.discard(identity)
        if largest >= ALIVE and variation < DOUBTED * largest:
            self.doubted.add(identity)
        if largest >= ALIVE and mean < COLLAPSED * largest:
            return (
                f"the faces drawn of {identity} became all alike: they vary {mean:.2f} of what real ones do, before "
                f"{largest:.2f}"
            )
        if looks >= BORN_BY and largest < UNBORN:
            return f"the faces drawn of {identity} are all alike after {looks} looks at them"
        return None

    def numbers(self) -> dict[str, float]:
        """The memory as plain numbers, for a checkpoint."""
        found = {"guard_mean": self.mean, "guard_seen": self.seen, "guard_high": self.high}
        if self.lowest < math.inf:  # JSON has no infinity
            found["guard_lowest"] = self.lowest
        for identity, memory in self.variations.items():
            found |= {f"guard_{key}/{identity}": value for key, value in zip(VARIATION_KEYS, memory, strict=True)}
        found |= {f"guard_doubted/{identity}": 1 for identity in self.doubted}
        return found

    @classmethod
    def of(cls, numbers: dict[str, float]) -> "Guard":
        """The guard whose `numbers` are among these; those of a run of before variations were looked at do as well."""
        first, *_ = VARIATION_KEYS
        identities = [name.partition("/")[2] for name in numbers if name.startswith(f"guard_{first}/")]
        variations = {
            identity: (
                numbers[f"guard_variation/{identity}"],
                numbers[f"guard_largest/{identity}"],
                int(numbers[f"guard_looks/{identity}"]),
            )
            for identity in identities
        }
        lowest = numbers.get("guard_lowest", math.inf)
        doubted = {identity for identity in identities if f"guard_doubted/{identity}" in numbers}
        mean, seen, high = numbers["guard_mean"], int(numbers["guard_seen"]), int(numbers["guard_high"])
        return cls(mean, seen, high, lowest, variations, doubted)


VARIATION_KEYS = ("variation", "largest", "looks")


@torch.no_grad()
def output_variation(drawn: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """How much drawn faces differ from each other, as a part of how much the real ones do.

    Variance of each pixel over the batch, means of it under `weights`, and of these the root of their ratio. 1: as
    different as real faces; 0: all the same. Blur alone brings it to 0.6 or so.

    Args:
        drawn: `(B, 3, H, W)` faces in [0, 1] drawn of one person, B >= 2.
        truth: the real faces, alike in shape.
        weights: `(B, 1, H, W)` >= 0, what a pixel counts, such as the hull; those of the batch are averaged.

    Returns:
        Scalar float32 on the device; 1 where the real faces are all the same, for then nothing can be told.

    >>> faces = torch.rand(4, 3, 8, 8)
    >>> round(output_variation(faces / 2, faces, torch.ones(4, 1, 8, 8)).item(), 4)
    0.5
    """
    weight = weights.float().mean(0)  # (1, H, W)
    of_drawn, of_truth = (
        ((faces - faces.mean(0)).square().mean(0) * weight).sum()  # `var` over a batch takes nine times as long
        for faces in (drawn.float(), truth.float())
    )
    return torch.where(of_truth > 0, (of_drawn / of_truth.clamp_min(1e-12)).sqrt(), 1.0)


def check_attempts(attempt: int, iteration: int, reason: str, kept: int) -> None:
    """End a training that went wrong too often.

    Args:
        attempt: how often it has gone back before.
        iteration: at which it went wrong now.
        reason: what is wrong.
        kept: iteration of the weights that stay, 0 for none.

    Raises:
        CollapseError: this is one time more than it may.
    """
    if attempt >= ATTEMPTS:
        left = f"The weights of iteration {kept} are kept" if kept else "No weights are kept"
        raise CollapseError(
            f"training went wrong {attempt + 1} times, last at iteration {iteration}: {reason}. {left}. Look through "
            "the facesets for crops that are not this person's face, choose a smaller --learning-rate (half of what it "
            "was), or another --seed, and train into a new run"
        )
