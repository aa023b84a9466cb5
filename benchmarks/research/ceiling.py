"""Duration of a network's convolutions and dense layers alone, as an upper limit of training speed.

The ceiling is measured, not calculated: the same library calls with the same shapes, memory formats and precision in
the same process. Everything else in an iteration is overhead: activations, changes of format and precision, losses,
optimizer.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

CALLS: dict[Callable[..., Any], str] = {
    F.conv1d: "conv1d", F.conv2d: "conv2d", F.conv_transpose2d: "conv_transpose2d", F.linear: "linear"
}  # fmt: skip
TENSORS = ("input", "weight", "bias")  # first arguments of all these functions
ALIGNMENT = 32  # alignment in the pool, in numbers, for vector instructions


@dataclass(frozen=True)
class Spec:
    """Shape and memory format of a tensor."""

    shape: tuple[int, ...]
    channels_last: bool
    needs_grad: bool

    @classmethod
    def of(cls, x: Tensor) -> "Spec":
        return cls(tuple(x.shape), x.ndim == 4 and x.stride(1) == 1, x.requires_grad)

    @property
    def numbers(self) -> int:
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Call:
    """A call of a convolution or dense layer."""

    function: Callable[..., Any]
    tensors: tuple[Spec | None, ...]  # input, weight, bias
    settings: tuple[Any, ...]  # positional: stride, padding, ...
    options: tuple[tuple[str, Any], ...]  # by name
    dtype: torch.dtype

    def __str__(self) -> str:
        x, weight = (spec.shape if spec else () for spec in self.tensors[:2])
        return f"{CALLS[self.function]} {'x'.join(map(str, x))} by {'x'.join(map(str, weight))}"

    def __call__(self, tensors: list[Tensor | None]) -> Tensor:
        return self.function(*tensors, *self.settings, **dict(self.options))

    @property
    def output(self) -> Spec:
        """Spec of the result."""
        empty = [None if spec is None else torch.empty(spec.shape, device="meta") for spec in self.tensors]
        return replace(self.tensors[0] or Spec((), False, False), shape=tuple(self(empty).shape), needs_grad=False)


class Listener(TorchFunctionMode):
    """Counts calls of convolutions and dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Counter[Call] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in CALLS:
            options = dict(kwargs or {})
            names = [name for name in TENSORS[len(args) :] if name in options]
            given = [*args[: len(TENSORS)], *(options.pop(name) for name in names)]
            call = Call(
                func,
                tuple(None if x is None else Spec.of(x) for x in given),
                tuple(_fixed(value) for value in args[len(TENSORS) :]),
                tuple((name, _fixed(value)) for name, value in options.items()),
                _dtype(given[0]),
            )
            self.heard[call] += 1
        return func(*args, **(kwargs or {}))


def _fixed(value: Any) -> Any:
    """Make a setting hashable."""
    return tuple(value) if isinstance(value, list) else value


def _dtype(x: Tensor) -> torch.dtype:
    """Precision of a call on `x`, which autocast may override."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def collect(run: Callable[[], object]) -> Counter[Call]:
    """Count the convolutions and dense layers that `run` calls.

    >>> layer = torch.nn.Conv2d(3, 8, 3)
    >>> calls = collect(lambda: [layer(torch.rand(2, 3, 9, 9)) for _ in range(2)])
    >>> [(str(call), count) for call, count in calls.items()]
    [('conv2d 2x3x9x9 by 8x3x3x3', 2)]
    """
    with Listener() as listener:
        run()
    return listener.heard


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Duration of `run`, including asynchronous work of the device."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


class Bench:
    """Times calls on a shared pool of random numbers, which saves time and memory.

    Args:
        calls: from `collect`.
        device: of the calls.
    """

    def __init__(self, calls: Counter[Call], device: torch.device) -> None:
        self.calls, self.device = calls, device
        most = max(
            sum(spec.numbers + ALIGNMENT for spec in (*call.tensors, call.output) if spec is not None) for call in calls
        )
        noise = torch.rand(most, generator=torch.Generator().manual_seed(0)) - 0.5
        self.pools = {dtype: noise.to(device, dtype) for dtype in {call.dtype for call in calls}}

    def time(self, call: Call) -> tuple[float, float]:
        """Seconds forward and backward; backward only for tensors that need gradients."""
        used = 0
        tensors: list[Tensor | None] = []
        for spec in (*call.tensors, call.output):
            tensors.append(None if spec is None else self.view(call.dtype, spec, used))
            used += 0 if spec is None else -(-spec.numbers // ALIGNMENT) * ALIGNMENT
        *given, slope = tensors
        wanted = [x for x in given if x is not None and x.requires_grad]
        made: list[Tensor] = []
        forward = seconds(lambda: made.append(call(given)), self.device)
        if not wanted:
            return forward, 0.0
        return forward, seconds(lambda: torch.autograd.grad(made[0], wanted, slope), self.device)

    def view(self, dtype: torch.dtype, spec: Spec, place: int) -> Tensor:
        """A tensor of this spec from the pool, starting at `place`."""
        x = self.pools[dtype][place : place + spec.numbers]
        if spec.channels_last:
            b, c, h, w = spec.shape
            x = x.view(b, h, w, c).permute(0, 3, 1, 2)
        else:
            x = x.view(spec.shape)
        return x.detach().requires_grad_(spec.needs_grad)

    def round(self) -> dict[Call, tuple[float, float]]:
        """Total seconds of each call, forward and backward."""
        return {call: tuple(count * s for s in self.time(call)) for call, count in self.calls.items()}  # pyright: ignore[reportReturnType] - two
