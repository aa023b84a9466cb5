"""Optimizers and their step.

AdamW is torch's, fused; AdaBelief, Lion and schedule-free are from pytorch_optimizer. Their state, tensors per weight
and three numbers per group, resumes exactly.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from visagist.core.device import Compute
from visagist.core.errors import RunError
from visagist.core.settings import Settings

Name = Literal["adamw", "adabelief", "lion", "schedule-free"]
Beta = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_BETAS: dict[Name, tuple[float, float]] = {
    "adamw": (0.9, 0.99),
    "adabelief": (0.9, 0.999),
    "lion": (0.9, 0.99),
    "schedule-free": (0.9, 0.999),
}
LION_RATE = 0.1  # relative to AdamW's rate, because every step of Lion is as long as AdamW's longest
EMA_INTERVAL = 4  # iterations
WEIGHT_STATE: dict[Name, tuple[str, ...]] = {  # tensors per weight
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "adabelief": ("exp_avg", "exp_avg_var"),
    "lion": ("exp_avg",),
    "schedule-free": ("z", "exp_avg_sq"),
}
GROUP_STATE = {"step": int, "weight_sum": float, "lr_max": float}  # numbers per group, of pytorch_optimizer


class OptimizerOptions(Settings):
    """Optimizer and its settings."""

    group = "Optimizer and schedule"

    name: Name = "adamw"
    """Optimizer. `adabelief` (as in SAEHD) takes larger steps where successive gradients agree; `lion` takes steps of
    equal size, needs less memory and suits large batches; `schedule-free` averages the weights instead of lowering the
    learning rate, for trainings of unknown length (with `--schedule.floor 1`)."""

    betas: tuple[Beta, Beta] | None = None
    """Decay rates of the running means of the gradients and their squares. By default those that suit the
    optimizer."""

    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Weight decay, multiplied by the learning rate; biases are excluded. Try 0.01 if a long training overfits."""

    lr_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Fraction of weights, drawn at random in each iteration, that are not updated. Late in a long training, 0.7 (as in
    SAEHD) gives sharper results but learns less per iteration."""

    clip: float = Field(default=1.0, ge=0, le=1000)
    """Maximum norm of the gradient of all weights; 0 disables clipping."""

    accumulate: int = Field(default=1, ge=1, le=64)
    """Gradient accumulation: split each batch into this many parts to save memory, at most the faces per identity in a
    batch. The gradients stay the same, except for rounding and for what the model `amp` and `--losses.gan-noise` draw
    at random."""

    ema: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the exponential moving average of the weights that is used for predictions, updated every fourth
    iteration; 0 uses the weights themselves. `schedule-free` has its own average."""

    @model_validator(mode="after")
    def _has_an_average(self) -> Self:
        if self.name == "schedule-free" and self.betas is not None and self.betas[0] == 0:
            raise ValueError("betas: schedule-free averages by its first beta; give one above 0")
        return self


def suited_rate(name: Name, rate: float) -> float:
    """The learning rate for an optimizer, if `rate` suits AdamW."""
    return rate * LION_RATE if name == "lion" else rate


def create_optimizer(
    weights: Iterable[Tensor], options: OptimizerOptions, rate: float, compute: Compute
) -> torch.optim.Optimizer:
    """The optimizer of some weights; biases do not decay."""
    weights, decay = list(weights), options.weight_decay
    decayed = [weight for weight in weights if weight.ndim > 1 and decay]
    others = [weight for weight in weights if weight.ndim <= 1 or not decay]
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": each} for params, each in ((decayed, decay), (others, 0.0)) if params
    ]
    betas = options.betas or DEFAULT_BETAS[options.name]
    if options.name == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=compute.device.type in ("cpu", "cuda"))
    import pytorch_optimizer  # takes a second

    if options.name == "schedule-free":
        optimizer = pytorch_optimizer.ScheduleFreeAdamW(groups, lr=rate, betas=betas)
        optimizer.train()  # never eval mode, since switching would round; see `update_average`
        return optimizer
    kind = pytorch_optimizer.Lion if options.name == "lion" else pytorch_optimizer.AdaBelief
    return kind(groups, lr=rate, betas=betas)


def optimizer_step(
    optimizer: torch.optim.Optimizer, weights: Iterable[Tensor], options: OptimizerOptions, seed: int
) -> Tensor:
    """Clip the gradients, step, and free the gradients.

    `options.lr_dropout` is the probability that a number keeps its value while the optimizer's running means are
    updated (Lin et al. 2019, "Learning Rate Dropout"); `seed` determines which.

    Returns:
        Norm of all gradients before clipping, a scalar on the device; not finite if a gradient is not.
    """
    moving = [weight for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(moving, options.clip or math.inf)
    if options.lr_dropout == 0:
        optimizer.step()
    else:
        before = [(weight.detach().clone(), stepped_tensor(optimizer, weight).clone()) for weight in moving]
        optimizer.step()
        generator = torch.Generator(norm.device).manual_seed(seed)
        with torch.no_grad():
            for weight, (old, old_path) in zip(moving, before, strict=True):
                dropped, path = random_mask(weight, options.lr_dropout, generator), stepped_tensor(optimizer, weight)
                path.copy_(torch.where(dropped, old_path, path))
                weight.copy_(torch.where(dropped, old, weight))
    optimizer.zero_grad(set_to_none=True)
    return norm


def stepped_tensor(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    """The tensor that the optimizer steps: z for schedule-free, otherwise the weight."""
    return optimizer.state.get(weight, {}).get("z", weight.detach())


def random_mask(like: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Random booleans in the shape and memory format of a tensor; the probability is rounded to 1/256.

    Drawing eight bytes at once is seven times as fast on a CPU as drawing a float per number.
    """
    count = like.numel()
    draws = torch.empty(-(-count // 8), dtype=torch.int64, device=like.device)
    draws.random_(-(2**63), None, generator=generator)
    return (draws.view(torch.uint8)[:count] < round(256 * probability)).as_strided(like.shape, like.stride())


@torch.no_grad()
def update_average(
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    iteration: int,
    options: OptimizerOptions,
) -> None:
    """Update the averaged weights after an iteration, in place.

    An exponential moving average; for schedule-free, the average x of Defazio et al. 2024, "The Road Less Scheduled",
    computed from z and the network's weights y = (1 - beta1) z + beta1 x.
    """
    if iteration % EMA_INTERVAL and options.ema > 0:
        return
    if options.name == "schedule-free":
        beta1 = optimizer.param_groups[0]["betas"][0]
        for name, weight in weights.items():
            average[name].copy_(torch.lerp(stepped_tensor(optimizer, weight), weight, 1 / beta1))
        return
    updates = iteration // EMA_INTERVAL
    decay = min(options.ema, (1 + updates) / (10 + updates))  # forgets faster at the start
    for name, weight in weights.items():
        average[name].lerp_(weight, 1 - decay)


def state_tensors(optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State of an optimizer: `KEY/NAME` for each weight, not copied, and `optimizer/GROUP/KEY`."""
    found = {
        f"{key}/{name}": t for name, weight in weights.items() for key, t in optimizer.state.get(weight, {}).items()
    }
    for index, group in enumerate(optimizer.param_groups):
        for key in GROUP_STATE.keys() & group.keys():
            found[f"optimizer/{index}/{key}"] = torch.tensor(group[key], dtype=torch.float64)
    return found


@torch.no_grad()
def restore_state(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], name: Name
) -> None:
    """Restore the result of `state_tensors`, from any device, and drop gradients.

    Weights without an entry start with an empty state.

    Raises:
        RunError: the state is from another optimizer, or from weights of other shapes.
    """
    optimizer.state.clear()
    optimizer.zero_grad(set_to_none=True)
    for key, weight in weights.items():
        found = {each for each in set().union(*WEIGHT_STATE.values()) if f"{each}/{key}" in tensors}
        if found and found != set(WEIGHT_STATE[name]):
            raise RunError(f"the checkpoint has {', '.join(sorted(found))} of '{key}', which {name} does not use")
        for each in WEIGHT_STATE[name] if found else ():
            saved = tensors[f"{each}/{key}"]
            if each == "step":  # fused optimizers count steps on the device, others on the CPU
                device = weight.device if optimizer.defaults["fused"] else "cpu"
                optimizer.state[weight][each] = saved.to(device, copy=True)
            elif saved.shape == weight.shape:
                optimizer.state[weight][each] = torch.empty_like(weight).copy_(saved)
            else:
                raise RunError(f"'{each}/{key}' of the checkpoint is {tuple(saved.shape)}, not {tuple(weight.shape)}")
    for index, group in enumerate(optimizer.param_groups):
        for key, number in GROUP_STATE.items():
            if (saved := tensors.get(f"optimizer/{index}/{key}")) is not None:
                group[key] = number(saved)
