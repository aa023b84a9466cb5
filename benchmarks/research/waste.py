"""Profile of a training step: the slowest operations, and those that leave channels_last."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def top_ops(step: Callable[[int], object], steps: int, rows: int) -> str:
    """A table of the `rows` operations with the longest self time in `steps` steps."""
    has_cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_cuda else [])]
    with profile(activities=activities, record_shapes=True) as profiler:
        for number in range(steps):
            step(number)
    found = profiler.key_averages(group_by_input_shape=True)
    field = "self_device_time_total" if has_cuda else "self_cpu_time_total"  # in us
    total = sum(getattr(event, field) for event in found)
    lines = [f"{'ms/step':>8} {'part':>6} {'calls':>6}  operation and shapes"]
    for event in sorted(found, key=lambda event: getattr(event, field), reverse=True)[:rows]:
        own = getattr(event, field)
        shapes = " ".join("x".join(map(str, shape)) for shape in event.input_shapes if shape)
        lines.append(f"{own / 1e3 / steps:8.1f} {own / total:6.1%} {event.count / steps:6.0f}  {event.key} {shapes}")
    return "\n".join(lines)


def fast(x: Tensor) -> bool | None:
    """Whether a tensor is in channels_last; None if that is undefined.

    >>> x = torch.zeros(1, 3, 4, 4)
    >>> fast(x), fast(x.contiguous(memory_format=torch.channels_last)), fast(x[:, :1])
    (False, True, None)
    """
    if x.ndim != 4 or x.shape[1] == 1 or x.shape[2] * x.shape[3] == 1:
        return None
    return x.stride(1) == 1


class Watch(TorchDispatchMode):
    """Counts operations, forward and backward, that leave channels_last."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        given = tensors((args, kwargs))
        if any(fast(x) for x in given):
            memory = {x.untyped_storage().data_ptr() for x in given}
            for x in tensors(made):
                if fast(x) is False and x.untyped_storage().data_ptr() not in memory:  # views copy nothing
                    self.seen[f"{func} -> {'x'.join(map(str, x.shape))}"] += 1
        return made


def tensors(values: Any) -> Iterable[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def leavers(run: Callable[[], object]) -> Counter[str]:
    """Count the operations in `run` that leave channels_last, with the shapes of their results.

    >>> x = torch.rand(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    >>> leavers(lambda: (x.relu(), x.contiguous()))
    Counter({'aten.clone.default -> 1x3x4x4': 1})
    """
    with Watch() as watch:
        run()
    return watch.seen
