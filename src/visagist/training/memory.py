"""An estimate of a training's memory, and a refusal of what cannot fit.

Two iterations run on tensors without contents, so the estimate covers every architecture and loss, also of plug-ins.
"""

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from visagist.core.device import Compute, available
from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES, configure, create
from visagist.training.config import TrainOptions
from visagist.training.data import IdentityDataset
from visagist.training.data.dataset import PLANES
from visagist.training.distributed import World
from visagist.training.losses.embedder import embedder
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer, faces_per_identity

GIB = 2**30
# Python and the libraries, once a network has run and validation faces were embedded (measured on a CPU: 550 MiB); on
# GPUs, CUDA's context and handles.
BASE = {"cpu": 600 * 2**20, "cuda": 700 * 2**20, "mps": 450 * 2**20}
# Fragmentation and scratch memory, for lasting memory and for that of a step: measured 1.0 to 1.1 on a CPU, and up to
# 1.5 where a discriminator's tensors fragment a heap that is kept (`core.device.kept_memory`).
LASTING_SLACK = 1.1
STEP_SLACK = {"cpu": 1.5, "cuda": 1.1, "mps": 1.1}
DATA_COPIES = {"cpu": 2, "cuda": 1, "mps": 2}  # crops as read, and as the trainer holds them, if in one memory
# After running out of memory, of the estimate: what is suggested must take less than what failed.
BELOW_FAILED = 0.9
MOST_PARTS = 8  # of a batch, to suggest: an estimate takes as long as its parts
# For the upper bound, in bytes: per weight, with averages, optimizer and copies for saving; per pixel of a batch, in
# losses without networks of their own (measured: 590).
WEIGHT, PIXEL = 48, 2 * 2**10


def check_memory(options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int) -> str:
    """Refuse a new training that does not fit into memory; returns its memory in words.

    Args:
        options: of the training.
        identities: names.
        compute: device, precision and memory format.
        crops: number of crops of all identities together.

    Raises:
        ConfigError: it does not fit into what the device has left.
    """
    room = available(compute.device)
    if room is not None and (most := upper_bound(options, identities, compute, crops)) < room / 4:
        return f"takes less than {most / GIB:.1f} GiB of the {room / GIB:.0f} GiB available"
    needed = estimate_memory(options, identities, compute, crops)
    if room is not None and needed > room:
        fits = remedies(options, identities, compute, crops, needed, room)
        raise ConfigError(f"{shortage(needed, room)}; {advice(options, fits)}")
    return f"takes about {needed / GIB:.1f} GiB at its peak"


def estimate_memory(options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int) -> int:
    """Peak memory in bytes; takes seconds, and hardly any memory itself. Arguments as for `check_memory`."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes half a second

    kind, size = compute.device.type, configure(options.model, options.settings).size
    ledger = Ledger()
    placeholders = cast(  # crops are not looked at
        "dict[str, IdentityDataset]", {name: SimpleNamespace(centroid=(1.0,) * 128) for name in identities}
    )
    finishing = Plan(warm_up=0, cool_down_start=0, total=2)  # with the losses of the cool-down
    cpu = torch.device("cpu")
    if options.losses.weight("identity"):
        embedder(options.coverage, size, cpu)  # read from a file: cannot be without contents
    with torch.device("meta"):  # weights without contents cannot change their layout
        trainer = Trainer(
            placeholders,
            options.model_copy(update={"losses": options.losses.model_copy(update={"identity": 0.0})}),
            finishing,
            Compute(torch.device("meta"), None, compute.memory_format),
        )
    trainer.options, trainer.compute = options, Compute(cpu, compute.autocast, compute.memory_format)

    def empty_batch(iteration: int) -> tuple[Tensor, Tensor]:
        truth = torch.zeros(len(trainer.rows), 5, size, size).to(memory_format=compute.memory_format)
        return truth[:, :3].clone(), truth

    with FakeTensorMode(allow_non_fake_inputs=True), ledger:
        trainer.network.to_empty(device="cpu")
        trainer.begin()
        trainer.batch = empty_batch
        lasting = 0
        for iteration in range(2):  # the optimizer's state is there from the second on
            ledger.peak = ledger.live
            trainer.step(iteration)
            trainer.losses, trainer.discriminator_losses = {}, {}
            lasting = ledger.live
        state = trainer.tensors()
        # What lies in channels_last is copied for saving; on a GPU one tensor after the other, to the CPU.
        saving = sum(each.nbytes for each in state.values() if not each.is_contiguous()) if kind == "cpu" else 0
        step = max(ledger.peak - lasting, saving)
        state_bytes = sum(each.nbytes for each in state.values())
        faces = crops * PLANES * round(size * options.margin) ** 2 * DATA_COPIES[kind]
        return BASE[kind] + faces + round(LASTING_SLACK * state_bytes + STEP_SLACK[kind] * step)


def upper_bound(options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int) -> float:
    """An upper bound in bytes, from predicting one face; infinity for losses with networks of their own."""
    losses = options.losses
    if losses.gan or losses.true_face or any(losses.weight(name) for name in losses.of_swap):
        return math.inf
    ledger = Ledger()
    with torch.device("meta"):
        network = create(options.model, tuple(identities), **options.settings)
        with ledger:
            network(torch.zeros(1, 3, network.size, network.size), identities[0])
    weights = sum(weight.numel() for weight in network.parameters())
    kind, size = compute.device.type, network.size
    faces = crops * PLANES * round(size * options.margin) ** 2 * DATA_COPIES[kind]
    return BASE[kind] + faces + WEIGHT * weights + options.batch * (2 * ledger.peak + PIXEL * size**2)


def remedies(
    options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int, needed: int, room: int
) -> dict[str, int]:
    """Changes of the options with which a training fits into memory: each as on the command line, with its bytes.

    The first keep the result of the training; a smaller size is looked for only if nothing else fits.

    Args:
        options: of a training that does not fit.
        identities: names.
        compute: device and precision; the device need not be available.
        crops: number of crops of all identities together.
        needed: bytes of that training, from `estimate_memory`.
        room: bytes that a training may take.
    """
    fits: dict[str, int] = {}
    if room < BASE[compute.device.type]:
        return fits
    size, batch, parts = configure(options.model, options.settings).size, options.batch, options.optimizer.accumulate

    def need(batch: int = batch, parts: int = parts, size: int = size, *, recompute: bool = False) -> int:
        changes: dict[str, Any] = {"batch": batch, "checkpointing": recompute or options.checkpointing}
        changes["optimizer"] = options.optimizer.model_copy(update={"accumulate": parts})
        changes["settings"] = {**options.settings, "size": size}
        return estimate_memory(options.model_copy(update=changes), identities, compute, crops)

    def add(flags: str, bytes_needed: int) -> None:
        if bytes_needed <= room:
            fits[flags] = bytes_needed

    can_recompute = bool(ARCHITECTURES[options.model].checkpoint_blocks) and not options.checkpointing
    if can_recompute:
        add("--checkpointing", need(recompute=True))
    # Memory grows evenly with the batch.
    least = parts * World.current().size  # faces per identity
    lowest = next(each for each in range(2, batch + 1) if min(faces_per_identity(each, len(identities))) >= least)
    smallest = need(lowest) if lowest < batch else needed
    if smallest <= room < needed:
        fitting = min(batch - 1, lowest + (room - smallest) * (batch - lowest) // (needed - smallest))
        while (found := need(fitting)) > room:
            fitting = (lowest + fitting) // 2
        most = min(faces_per_identity(batch, len(identities))) // World.current().size
        cuts = parts * -(-batch // fitting)
        for more in (cuts, 2 * cuts):
            if more <= min(most, MOST_PARTS) and (cut := need(parts=more)) <= room:
                add(f"--optimizer.accumulate {more}", cut)
                break
        add(f"--batch {fitting}", found)
    if not fits and can_recompute:
        add(f"--batch {lowest} --checkpointing", need(lowest, recompute=True))
    sizes = dict.fromkeys(size * part // 256 * 64 for part in (3, 2, 1))
    for smaller in (each for each in sizes if each and not fits):
        with suppress(ConfigError):  # not a size of this network
            add(f"--settings.size {smaller} --batch {lowest}", need(lowest, size=smaller))
    return fits


def advice(options: TrainOptions, fits: Mapping[str, int]) -> str:
    """What to change, in words; `fits` is from `remedies`."""
    if fits:
        return "what fits: " + ", or ".join(f"{flags} ({needed / GIB:.1f} GiB)" for flags, needed in fits.items())
    size = configure(options.model, options.settings).size
    return (
        f"no --batch fits (now {options.batch}); choose a much smaller --settings.size (now {size}) or --model visage"
    )


def shortage(needed: int, room: int) -> str:
    """What a training takes and what there is, in words."""
    return f"this training takes about {needed / GIB:.1f} GiB, and {room / GIB:.1f} GiB are available"


@contextmanager
def explained(trainer: Trainer) -> Iterator[None]:
    """Turn running out of memory into a ConfigError that names the remedies."""
    try:
        yield
    except RuntimeError as error:  # the CPU has no type of its own for it
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        options, device = trainer.options, trainer.compute.device
        crops = sum(len(each.planes) for each in set(trainer.datasets.values()))
        identities = tuple(trainer.datasets)
        needed = estimate_memory(options, identities, trainer.compute, crops)
        room = min(available(device, with_own=True) or needed, round(BELOW_FAILED * needed))
        fits = remedies(options, identities, trainer.compute, crops, needed, room)
        anew = {flags: each for flags, each in fits.items() if flags != "--checkpointing"}
        changes = ["continue with --checkpointing"] if "--checkpointing" in fits else []
        if anew or not changes:  # a run keeps its batch
            changes.append(f"train into another run folder: {advice(options, anew)}")
        reason = f"{shortage(needed, room)}; {', or '.join(changes)}"
        raise ConfigError(f"{device} ran out of memory; the last checkpoint is kept; {reason}") from error


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages that operations create, until they are freed.

    Attributes:
        live: bytes now.
        peak: maximum so far; may be reset to `live`.
    """

    supports_higher_order_operators: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, weakref.finalize[Any, Any]] = {}  # by identity: storages cannot be compared

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and id(storage := leaf.untyped_storage()) not in self.known:
                key, size = id(storage), storage.nbytes()
                self.known[key] = weakref.finalize(storage, self._forget, key, size)
                self.live += size
                self.peak = max(self.peak, self.live)
        return result

    def _forget(self, key: int, size: int) -> None:
        del self.known[key]
        self.live -= size
