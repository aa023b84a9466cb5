"""How much memory a training takes, before it begins, and what would fit.

- `estimate_memory`: plays two iterations with tensors that have shapes and no contents; a `Memory`
- `available`, `peak`: what a device has to give, and what this process has taken at most
- `check_memory`, `explained`: refuse what does not fit, before and during a training
- `what_fits`: changes of the options by which a training fits; `shortage` says it in words

Nothing is assumed about a network: the trainer's own iteration runs in torch's fake mode, where an operation says what
it would allocate and allocates nothing, and every storage is counted from its making until it is let go of. So
autocast's copies of the weights and the buffers of an optimizer are all in it, and a network too large for this machine
is measured as well as a small one.
"""

import math
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from visagist.core.device import Compute
from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES, configure, create
from visagist.training.config import TrainOptions
from visagist.training.data.crops import PLANES, Side
from visagist.training.losses import FaceEmbedder
from visagist.training.optimizers import state_tensors
from visagist.training.trainer import Trainer

GIB = 2**30
# Python, torch and the libraries themselves, once a network has run: measured (CPU), and CUDA's context and handles
BASE = {"cpu": 450 * 2**20, "cuda": 700 * 2**20, "mps": 450 * 2**20}
SLACK = {"cpu": 1.08, "cuda": 1.1, "mps": 1.1}  # allocators' gaps, and the libraries' own scratch memory
DATA_COPIES = {"cpu": 2, "cuda": 1, "mps": 2}  # crops as read, and as the trainer holds them, if in one memory
WEIGHT = 48  # bytes that a weight never takes: itself, averages, optimizer, and copies for saving or a step
PIXEL = 2 * 2**10  # bytes that the losses never take for a pixel of a batch, networks of their own aside: measured 590
SMALLER = (0.75, 0.5)  # parts of the size that are tried


@dataclass(frozen=True)
class Memory:
    """What a training takes at its peak, in bytes.

    Attributes:
        weights: of the network.
        average: their running average, and what that was when face style began to act.
        optimizer: what the optimiser remembers.
        step: most that an iteration takes on top: gradients, activations kept for the backward pass, all temporaries.
        saving: most that a checkpoint takes on top: copies in plain order of what lies in channels_last; on a CPU only.
        faces: the crops.
        base: what the program takes without any training.
        slack: factor on all but faces and base.
    """

    weights: int
    average: int
    optimizer: int
    step: int
    saving: int
    faces: int
    base: int
    slack: float

    @property
    def peak(self) -> int:
        """All of it together: what must be there."""
        lasting = self.weights + self.average + self.optimizer
        return self.base + self.faces + round(self.slack * (lasting + max(self.step, self.saving)))

    def as_text(self) -> str:
        """A line for people."""
        parts = {
            "weights": self.weights,
            "average": self.average,
            "optimizer": self.optimizer,
            "gradients and activations": self.step,
            "faces": self.faces,
        }
        listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
        return f"about {self.peak / GIB:.1f} GiB at its peak ({listed})"


def estimate_memory(options: TrainOptions, people: Sequence[str], compute: Compute, crops: int) -> Memory:
    """Memory of a training that has not begun; takes some seconds and next to no memory itself.

    Args:
        options: of the training.
        people: everybody's names.
        compute: device, precision and memory format of the training; the device need not be here.
        crops: how many of all people together.

    Raises:
        ConfigError: an unknown model or setting, or a batch that cannot be accumulated as the options say.
    """
    options = options.model_copy(update={"compile": False})  # nothing to compile for: nothing is computed
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes half a second, of every command's start

    kind = compute.device.type
    ledger = Ledger()
    losses = options.losses.model_copy(update={"finish": 1.0})  # with those that act at the end
    options = options.model_copy(update={"losses": losses})
    nobody = cast("dict[str, Side]", {name: Nobody() for name in people})  # no crop is looked at
    with torch.device("meta"):  # weights of fake tensors cannot change their layout
        trainer = Trainer(nobody, options, 2, Compute(torch.device("meta"), None, compute.memory_format))
    trainer.compute = Compute(torch.device("cpu"), compute.autocast, compute.memory_format)
    if options.losses.identity:
        trainer.embedder = FaceEmbedder(options.coverage, trainer.network.size)  # read from a file: cannot be fake
    with FakeTensorMode(allow_non_fake_inputs=True), ledger:
        trainer.network.to_empty(device="cpu")
        trainer.begin()
        size, lasting = trainer.network.size, 0
        for iteration in range(2):  # the optimizer's memory is there from the second on
            ledger.peak = ledger.live
            truth = torch.zeros(len(trainer.own), 5, size, size).to(memory_format=compute.memory_format)
            trainer.learn(iteration, truth[:, :3].clone(), truth)
            trainer.variations, trainer.losses = {}, {}
            del truth
            lasting = ledger.live
        remembered = state_tensors(trainer.optimizer, trainer.weights)
        kept = [*trainer.weights.values(), *trainer.average.values(), *trainer.known.values(), *remembered.values()]
        return Memory(
            weights=total(trainer.weights.values()),
            average=total([*trainer.average.values(), *trainer.known.values()]),
            optimizer=total(remembered.values()),
            step=ledger.peak - lasting,
            saving=total(tensor for tensor in kept if not tensor.is_contiguous()) if kind == "cpu" else 0,
            faces=crops * PLANES * round(size * options.margin) ** 2 * DATA_COPIES[kind],
            base=BASE[kind],
            slack=SLACK[kind],
        )


def check_memory(options: TrainOptions, people: Sequence[str], compute: Compute, crops: int) -> str:
    """Memory of a training that has not begun, and whose crops have not been read, in a line for people.

    Where even a generous bound is a small part of what is there, the bound is told, and nothing is played through;
    unless losses have networks of their own, of which the bound knows nothing.

    Raises:
        ConfigError: it does not fit what the device has left; the message says what would. Or what `estimate_memory`
            raises.
    """
    room = available(compute.device)
    if room is not None and (most := bound(options, people, compute, crops)) < room / 4:
        return f"takes less than {most / GIB:.1f} GiB of the {room / GIB:.0f} GiB that are there"
    needed = estimate_memory(options, people, compute, crops)
    if room is not None and needed.peak > room:
        raise ConfigError(shortage(needed, room, what_fits(options, people, compute, crops, room)))
    return needed.as_text()


def bound(options: TrainOptions, people: Sequence[str], compute: Compute, crops: int) -> float:
    """More bytes than a training takes, from one face drawn once; no bound (infinity) where losses have networks."""
    if options.losses.gan or options.losses.true_face or options.losses.identity:
        return math.inf
    ledger = Ledger()
    with torch.device("meta"):
        network = create(options.model, tuple(people), **options.settings)
        with ledger:
            network(torch.zeros(1, 3, network.size, network.size), people[0])
    weights = sum(weight.numel() for weight in network.parameters())
    kind, size = compute.device.type, network.size
    faces = crops * PLANES * round(size * options.margin) ** 2 * DATA_COPIES[kind]
    face = 2 * ledger.peak + PIXEL * size**2  # drawn as oneself and, the target's, as somebody else
    return BASE[kind] + faces + WEIGHT * weights + options.batch * face


@contextmanager
def explained(options: TrainOptions, people: Sequence[str], compute: Compute, crops: int) -> Iterator[None]:
    """Say what would fit where the device runs out of memory in the block.

    Raises:
        ConfigError: it did.
    """
    try:
        yield
    except RuntimeError as error:  # the CPU has no type of its own for it
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        needed = estimate_memory(options, people, compute, crops)
        room = min(available(compute.device) or needed.peak, needed.peak - 1)  # it was not enough, whatever it says
        said = shortage(needed, room, what_fits(options, people, compute, crops, room))
        raise ConfigError(f"{compute.device} ran out of memory; the last checkpoint is kept. {said}") from error


@dataclass(frozen=True)
class Nobody:
    """In place of a person's crops."""

    centroid: tuple[float, ...] = (1.0,) * 128


def total(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors.

    >>> total([torch.zeros(3), torch.zeros(2, dtype=torch.bfloat16)])
    16
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, until they are let go of.

    Attributes:
        live: bytes now.
        peak: most that there were; may be set back to `live`.
    """

    supports_higher_order_operators: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, weakref.finalize[Any, Any]] = {}  # by identity: storages cannot be compared

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and enter what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.enter(leaf.untyped_storage())
        return result

    def enter(self, storage: torch.UntypedStorage) -> None:
        """Count a storage, unless it is known."""
        key = id(storage)
        if key in self.known:
            return
        size = storage.nbytes()
        self.known[key] = weakref.finalize(storage, self.leave, key, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def leave(self, key: int, size: int) -> None:
        """Forget a storage that nobody holds any longer."""
        del self.known[key]
        self.live -= size


def available(device: torch.device) -> int | None:
    """Bytes that a training could have on a device now, None where nobody can say.

    On a CPU what the system calls available, or what is left under the container's limit, where that is less.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    left = container_left(Path("/sys/fs/cgroup"))
    everything = psutil.virtual_memory().available
    return everything if left is None else min(left, everything)


def container_left(cgroup: Path) -> int | None:
    """What is left under the limit of a container (cgroup v2), in bytes; None without one.

    Files that were read count as used there, though they give way: those do not count here.
    """
    try:
        limit = (cgroup / "memory.max").read_text(encoding="utf-8").strip()
        used = int((cgroup / "memory.current").read_text(encoding="utf-8"))
        lines = (cgroup / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:  # no container, or an old one
        return None
    if limit == "max":
        return None
    inactive = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(0, int(limit) - used + inactive)


def peak(device: torch.device) -> int | None:
    """Most bytes that this process has had on a device so far, None where nobody can say.

    On a CPU the largest resident size, which the kernel keeps count of for every process: no rights are needed.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # not by rusage: that counts what the program took that started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    import resource  # not there on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def what_fits(
    options: TrainOptions, people: Sequence[str], compute: Compute, crops: int, room: int
) -> list[tuple[str, Memory]]:
    """Of each way to take less memory the least change by which a training fits `room` bytes; empty where none does.

    Args:
        options, people, compute, crops: of `estimate_memory`.
        room: bytes that there are.

    Returns:
        What to give on the command line, and the memory that it takes: gradient checkpointing, the same batch in
        parts, a smaller batch, and smaller faces.
    """
    size = configure(options.model, options.settings).size
    can_recompute = bool(ARCHITECTURES[options.model].segments) and not options.checkpointing
    parts = [n for n in (2, 4, 8) if n > options.optimizer.accumulate]
    batches = [options.batch // n for n in (2, 4, 8) if options.batch // n >= len(people)]
    sizes = [round(size * part / 32) * 32 for part in SMALLER]
    ways: list[list[tuple[str, dict[str, Any]]]] = [
        [("--checkpointing", {"checkpointing": True})] if can_recompute else [],
        [
            (f"--optimizer.accumulate {n}", {"optimizer": options.optimizer.model_copy(update={"accumulate": n})})
            for n in parts
        ],
        [(f"--batch {n}", {"batch": n}) for n in batches],
        [(f"--settings.size {n}", {"settings": {**options.settings, "size": n}}) for n in sizes],
    ]
    found: list[tuple[str, Memory]] = []
    for way in ways:
        for said, change in way:
            try:
                memory = estimate_memory(options.model_copy(update=change), people, compute, crops)
            except ConfigError:  # such as more parts than faces, or a size that the network cannot have
                continue
            if memory.peak <= room:
                found.append((said, memory))
                break
    return found


def shortage(needed: Memory, room: int, fits: list[tuple[str, Memory]]) -> str:
    """What to say where a training does not fit, or ran out of memory.

    Args:
        needed: what it takes.
        room: bytes that there are.
        fits: of `what_fits`.
    """
    said = [f"{change} ({memory.peak / GIB:.1f} GiB)" for change, memory in fits]
    remedy = f"what fits: {', or '.join(said)}" if said else "no smaller batch or size that was tried fits"
    return f"this training takes {needed.as_text()}, {room / GIB:.1f} GiB are there; {remedy}"
