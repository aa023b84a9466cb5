"""The optimizers of a training, and the step that they take once the gradients are there.

- `OptimizerOptions`: which one, and how it steps
- `build`: makes it; `suited_rate`: the learning rate that suits it
- `optimizer_step`: clip the gradients, step, perhaps drop part of the step (learning-rate dropout)
- `update_average`: the weights that predictions use
- `micro_batches`: a batch in parts, whose gradients add up
- `state_tensors`, `restore_state`: what an optimizer remembers as flat named tensors, for checkpoints

AdamW is torch's own, fused. AdaBelief, Lion and schedule-free are those of pytorch_optimizer (Apache-2.0, needs torch
and NumPy alone): all of its memory is tensors of weights and three numbers of groups, so that it resumes exactly, and
rules of our own would save 0.2 s of a df-128 iteration. torch-optimizer is no longer kept, schedulefree has one of the
three.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from visagist.core.device import Compute
from visagist.core.errors import ConfigError, RunError
from visagist.core.settings import Settings

EMA_EVERY = 4  # iterations
NUMBERS = {"step": int, "weight_sum": float, "lr_max": float}  # that pytorch_optimizer keeps for a group of weights

Name = Literal["adamw", "adabelief", "lion", "schedule-free"]
Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Kind:
    """What is particular to an optimizer."""

    betas: tuple[float, float]
    rate: float  # that suits it, where AdamW's is 1
    moments: tuple[str, ...]  # tensors that it remembers of each weight


KINDS: dict[Name, Kind] = {
    "adamw": Kind((0.9, 0.99), 1.0, ("step", "exp_avg", "exp_avg_sq")),
    "adabelief": Kind((0.9, 0.999), 1.0, ("exp_avg", "exp_avg_var")),
    "lion": Kind((0.9, 0.99), 0.1, ("exp_avg",)),  # each step is as long as AdamW's longest; its paper: 0.1 to 0.3
    "schedule-free": Kind((0.9, 0.999), 1.0, ("z", "exp_avg_sq")),
}


class OptimizerOptions(Settings):
    """How gradients become steps."""

    name: Name = "adamw"
    """`adamw`; `adabelief` (steps large where gradients agree; SAEHD's choice); `lion` (steps of one size, less memory;
    for large batches); `schedule-free` (averages its own path in place of a falling rate and of EMA; for trainings
    whose length nobody knows, with --schedule.floor 1)."""

    betas: tuple[Beta, Beta] | None = None
    """How much of the running means of gradients and of their squares an iteration keeps, 0 to below 1 each; without
    it, what suits the optimizer."""

    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Pull of weights towards 0, times the learning rate; biases are left alone. 0 to 1; 0.01 is usual where a long
    training learns its crops by heart."""

    lr_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Part of all weights, drawn anew each iteration, that does not step: 0 to below 1. 0.7 (SAEHD's) late in a long
    training finds sharper results; each iteration brings less."""

    clip: float = Field(default=1.0, ge=0, le=1000)
    """Largest norm of the gradients of all weights together; longer ones are shortened to it. 0 to 1000; 0 leaves them
    be."""

    accumulate: int = Field(default=1, ge=1, le=64)
    """Parts into which a batch is cut, one computed after the other, their gradients added up: a larger batch in the
    same memory. 1 to 64, at most the faces of each person in a batch. The gradients of the batch, discriminators' too,
    are the same but for rounding, and for what amp and gan_noise draw at random for each face."""

    ema: float = Field(default=0.95, ge=0, lt=1)
    """How much of the averaged weights, which predictions use, stays at every fourth iteration; 0 to below 1, 0 uses
    the weights as they are. `schedule-free` has an average of its own."""

    @model_validator(mode="after")
    def _has_an_average(self) -> Self:
        if self.name == "schedule-free" and self.betas is not None and self.betas[0] == 0:
            raise ValueError("betas: schedule-free needs a first beta above 0, by which it averages")
        return self


def suited_rate(name: Name, rate: float) -> float:
    """The learning rate that suits an optimizer where `rate` suits AdamW.

    >>> suited_rate("lion", 1e-3)
    0.0001
    """
    return rate * KINDS[name].rate


def build(weights: Iterable[Tensor], options: OptimizerOptions, rate: float, compute: Compute) -> torch.optim.Optimizer:
    """The optimizer of some weights, on the device of `compute`; a schedule sets each group's `lr` later."""
    weights = list(weights)
    # two groups, since a bias far from 0 learns nothing by heart
    split = {
        options.weight_decay: [weight for weight in weights if weight.ndim > 1],
        0.0: [weight for weight in weights if weight.ndim <= 1 or options.weight_decay == 0],
    }
    groups: list[dict[str, Any]] = [{"params": own, "weight_decay": decay} for decay, own in split.items() if own]
    betas = options.betas or KINDS[options.name].betas
    if options.name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=compute.device.type in ("cpu", "cuda"))
    import pytorch_optimizer  # takes a second

    match options.name:
        case "adabelief":
            return pytorch_optimizer.AdaBelief(groups, lr=rate, betas=betas)
        case "lion":
            return pytorch_optimizer.Lion(groups, lr=rate, betas=betas)
        case "schedule-free":
            optimizer = pytorch_optimizer.ScheduleFreeAdamW(groups, lr=rate, betas=betas)
            optimizer.train()  # for good: `update_average` takes the average without a switch, which would round
            return optimizer


def optimizer_step(
    optimizer: torch.optim.Optimizer, weights: Iterable[Tensor], options: OptimizerOptions, seed: int
) -> Tensor:
    """Clip the gradients, step, and let go of the gradients.

    With `options.lr_dropout` each number stays where it was with that probability (Lin et al. 2019, "Learning Rate
    Dropout"); the optimizer's running means go on for all.

    Args:
        optimizer: what `build` made of `weights`.
        weights: with their gradients.
        options: of `build`.
        seed: of this iteration; what is dropped is drawn on the device.

    Returns:
        Norm of all gradients before they were clipped, a scalar on the device; not finite if one of them was not.
    """
    moving = [weight for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(moving, options.clip or math.inf)
    if options.lr_dropout == 0:
        optimizer.step()
    else:
        before = [(weight.detach().clone(), path_of(optimizer, weight).clone()) for weight in moving]
        optimizer.step()
        generator = torch.Generator(norm.device).manual_seed(seed)
        with torch.no_grad():
            for weight, (old, old_path) in zip(moving, before, strict=True):
                resting = chosen(weight, options.lr_dropout, generator)
                path_of(optimizer, weight).copy_(torch.where(resting, old_path, path_of(optimizer, weight)))
                weight.copy_(torch.where(resting, old, weight))
    optimizer.zero_grad(set_to_none=True)
    return norm


def path_of(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    """What schedule-free steps in place of the weight, once it is there; else the weight itself."""
    return optimizer.state.get(weight, {}).get("z", weight.detach())


def chosen(like: Tensor, part: float, generator: torch.Generator) -> Tensor:
    """Booleans in shape and layout of a tensor, each true with probability `part`, to 1/256.

    Eight bytes a draw: a CPU draws one after the other, and a float for each number takes seven times as long.
    """
    count = like.numel()
    draws = torch.empty(-(-count // 8), dtype=torch.int64, device=like.device)
    draws.random_(-(2**63), None, generator=generator)
    return (draws.view(torch.uint8)[:count] < round(256 * part)).as_strided(like.shape, like.stride())


@torch.no_grad()
def update_average(
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    iteration: int,
    options: OptimizerOptions,
) -> None:
    """Bring the weights for predictions up to date, in place, after an iteration.

    An exponential moving average, every fourth iteration; with schedule-free the average x of Defazio et al. 2024, "The
    Road Less Scheduled", which lies on the line from z through the network's weights y = (1 - beta1) z + beta1 x.
    """
    if iteration % EMA_EVERY and options.ema > 0:
        return
    if options.name == "schedule-free":
        beta1 = optimizer.param_groups[0]["betas"][0]
        for name, weight in weights.items():
            average[name].copy_(torch.lerp(path_of(optimizer, weight), weight, 1 / beta1))
        return
    done = iteration // EMA_EVERY
    decay = min(options.ema, (1 + done) / (10 + done))  # the first averages forget fast
    for name, weight in weights.items():
        average[name].lerp_(weight, 1 - decay)


def micro_batches(counts: tuple[int, ...], parts: int) -> list[tuple[list[int], tuple[int, ...]]]:
    """A batch of several people's faces in parts with faces of everybody, all about as large.

    Args:
        counts: faces of each person, who stand in the batch one after the other.
        parts: how many; 1 to the smallest of the counts.

    Returns:
        Of each part the rows of the batch in it, person after person, and how many of each person they are.

    Raises:
        ConfigError: more parts than somebody has faces.

    >>> micro_batches((5, 3), 2)
    [([0, 2, 4, 6], (3, 1)), ([1, 3, 5, 7], (2, 2))]
    """
    if not 1 <= parts <= min(counts):
        raise ConfigError(
            f"a batch of {' + '.join(map(str, counts))} faces cannot be accumulated in {parts} parts with faces of "
            f"everybody; give 1 to {min(counts)}, or a larger batch"
        )
    bounds = list(pairwise([0, *accumulate(counts)]))
    every = [list(range(part, sum(counts), parts)) for part in range(parts)]
    return [(rows, tuple(sum(begin <= row < end for row in rows) for begin, end in bounds)) for rows in every]


def state_tensors(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All that an optimizer remembers: `MOMENT/NAME` of each weight, not copied, and `optimizer/GROUP/NUMBER`."""
    found = {
        f"{key}/{name}": t for name, weight in weights.items() for key, t in optimizer.state.get(weight, {}).items()
    }
    for index, group in enumerate(optimizer.param_groups):
        for key in NUMBERS.keys() & group.keys():
            found[f"optimizer/{index}/{key}"] = torch.tensor(group[key], dtype=torch.float64)
    return found


@torch.no_grad()
def restore_state(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: Name
) -> None:
    """Take over what `state_tensors` gave at another time; gradients are let go of.

    Args:
        optimizer: made by `build` of `weights` with the options of that time.
        weights: by name.
        tensors: from any device, among others perhaps; a weight of which they know nothing begins afresh.
        name: of the optimizer.

    Raises:
        RunError: they are of another optimizer, or of weights of other shapes.
    """
    optimizer.state.clear()
    optimizer.zero_grad(set_to_none=True)
    moments = KINDS[name].moments
    for key, weight in weights.items():
        found = {moment for kind in KINDS.values() for moment in kind.moments if f"{moment}/{key}" in tensors}
        if found and found != set(moments):
            raise RunError(f"the checkpoint keeps {', '.join(sorted(found))} of '{key}', which is not what {name} does")
        for moment in moments if found else ():
            saved = tensors[f"{moment}/{key}"]
            if moment == "step":  # fused steps count on the device, all others on the CPU
                device = weight.device if optimizer.defaults["fused"] else "cpu"
                optimizer.state[weight][moment] = saved.to(device, copy=True)
            elif saved.shape == weight.shape:
                optimizer.state[weight][moment] = torch.empty_like(weight).copy_(saved)
            else:
                raise RunError(f"'{moment}/{key}' of the checkpoint is {tuple(saved.shape)}, not {tuple(weight.shape)}")
    for index, group in enumerate(optimizer.param_groups):
        for key, number in NUMBERS.items():
            if (saved := tensors.get(f"optimizer/{index}/{key}")) is not None:
                group[key] = number(saved)
