"""Estimates of a training's memory, and a check that it fits.

Two iterations run on fake tensors, so an estimate covers every architecture and loss, including plug-ins.
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

from visagist.core.device import Compute, available_memory
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
# Bytes used by Python and the libraries after a network has run and validation faces were embedded (550 MiB measured on
# a CPU); on GPUs, by the CUDA context and handles.
BASE_BYTES = {"cpu": 600 * 2**20, "cuda": 700 * 2**20, "mps": 450 * 2**20}
# Factors for fragmentation and scratch memory, of the state and of a step. Measured on a CPU: 1.0 to 1.1, and up to 1.5
# where a discriminator's tensors fragment a retained heap (`core.device.reuse_freed_memory`).
LASTING_SLACK = 1.1
STEP_SLACK = {"cpu": 1.5, "cuda": 1.1, "mps": 1.1}
# Copies of the crops in this memory: as loaded, and as stored by the trainer.
DATA_COPIES = {"cpu": 2, "cuda": 1, "mps": 2}
# After running out of memory, suggestions must take at most this fraction of the estimate that failed.
FAILED_FRACTION = 0.9
MAX_SUGGESTED_PARTS = 8  # of a batch; the time of an estimate grows with them
# For the upper bound: a weight with its average, optimizer state and copy for saving; a pixel of a batch in losses that
# use no other network (measured: 590).
BYTES_PER_WEIGHT, BYTES_PER_PIXEL = 48, 2 * 2**10


def check_memory(options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int) -> str:
    """Check that a new training fits into memory; returns its memory as text.

    `crops` is the number of crops of all identities together.

    Raises:
        ConfigError: it does not fit into the available memory.
    """
    room = available_memory(compute.device)
    if room is not None and (most := upper_bound(options, identities, compute, crops)) < room / 4:
        return f"takes less than {most / GIB:.1f} GiB of the {room / GIB:.0f} GiB available"
    needed = estimate_memory(options, identities, compute, crops)
    if room is not None and needed > room:
        fits = remedies(options, identities, compute, crops, needed, room)
        raise ConfigError(f"{shortage(needed, room)}; {advice(options, fits)}")
    return f"takes about {needed / GIB:.1f} GiB at its peak"


def estimate_memory(options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int) -> int:
    """Estimate peak memory in bytes, in seconds and with little memory. Arguments as for `check_memory`."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes half a second

    kind, size = compute.device.type, configure(options.model, options.settings).size
    ledger = Ledger()
    placeholders = cast(  # crops are not read
        "dict[str, IdentityDataset]", {name: SimpleNamespace(centroid=(1.0,) * 128) for name in identities}
    )
    finishing = Plan(warm_up=0, cool_down_start=0, total=2)  # with the losses of the cool-down
    cpu = torch.device("cpu")
    if options.losses.weight("identity"):
        embedder(options.coverage, size, cpu)  # loaded here, since weights read from a file cannot be fake tensors
    with torch.device("meta"):  # fake tensors cannot change their memory format
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
        for iteration in range(2):  # the optimizer's state exists from the second on
            ledger.peak = ledger.live
            trainer.step(iteration)
            trainer.losses, trainer.discriminator_losses = {}, {}
            lasting = ledger.live
        state = trainer.tensors()
        # Tensors in channels_last are copied for saving; on a GPU one at a time, to the CPU.
        saving = sum(each.nbytes for each in state.values() if not each.is_contiguous()) if kind == "cpu" else 0
        step = max(ledger.peak - lasting, saving)
        state_bytes = sum(each.nbytes for each in state.values())
        faces = crops * PLANES * round(size * options.margin) ** 2 * DATA_COPIES[kind]
        return BASE_BYTES[kind] + faces + round(LASTING_SLACK * state_bytes + STEP_SLACK[kind] * step)


def upper_bound(options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int) -> float:
    """An upper bound in bytes, from predicting one face; infinity for losses that use other networks."""
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
    return (
        BASE_BYTES[kind]
        + faces
        + BYTES_PER_WEIGHT * weights
        + options.batch * (2 * ledger.peak + BYTES_PER_PIXEL * size**2)
    )


def remedies(
    options: TrainOptions, identities: Sequence[str], compute: Compute, crops: int, needed: int, room: int
) -> dict[str, int]:
    """Find changes of options with which a training fits: flags as on the command line, and the bytes they need.

    The first ones keep the result of the training; smaller sizes are tried only if nothing else fits.
    `needed` is the result of `estimate_memory`, `room` the available bytes.
    """
    fits: dict[str, int] = {}
    if room < BASE_BYTES[compute.device.type]:
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
    # Memory grows linearly with the batch.
    minimum = parts * World.current().size  # faces per identity
    lowest = next(each for each in range(2, batch + 1) if min(faces_per_identity(each, len(identities))) >= minimum)
    smallest = need(lowest) if lowest < batch else needed
    if smallest <= room < needed:
        fitting = min(batch - 1, lowest + (room - smallest) * (batch - lowest) // (needed - smallest))
        while (found := need(fitting)) > room:
            fitting = (lowest + fitting) // 2
        most = min(faces_per_identity(batch, len(identities))) // World.current().size
        cuts = parts * -(-batch // fitting)
        for more in (cuts, 2 * cuts):
            if more <= min(most, MAX_SUGGESTED_PARTS) and (cut := need(parts=more)) <= room:
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
    """Suggest changes from `remedies` as text."""
    if fits:
        return "what fits: " + ", or ".join(f"{flags} ({needed / GIB:.1f} GiB)" for flags, needed in fits.items())
    size = configure(options.model, options.settings).size
    return (
        f"no --batch fits (now {options.batch}); choose a much smaller --settings.size (now {size}) or --model visage"
    )


def shortage(needed: int, room: int) -> str:
    """Needed and available memory as text."""
    return f"this training takes about {needed / GIB:.1f} GiB, and {room / GIB:.1f} GiB are available"


@contextmanager
def explained(trainer: Trainer) -> Iterator[None]:
    """Turn out-of-memory errors into a ConfigError with remedies."""
    try:
        yield
    except RuntimeError as error:  # there is no separate type on the CPU
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        options, device = trainer.options, trainer.compute.device
        crops = sum(len(each.planes) for each in set(trainer.datasets.values()))
        identities = tuple(trainer.datasets)
        needed = estimate_memory(options, identities, trainer.compute, crops)
        room = min(available_memory(device, with_own=True) or needed, round(FAILED_FRACTION * needed))
        fits = remedies(options, identities, trainer.compute, crops, needed, room)
        anew = {flags: each for flags, each in fits.items() if flags != "--checkpointing"}
        changes = ["continue with --checkpointing"] if "--checkpointing" in fits else []
        if anew or not changes:  # a run cannot change its batch
            changes.append(f"train into another run folder: {advice(options, anew)}")
        reason = f"{shortage(needed, room)}; {', or '.join(changes)}"
        raise ConfigError(f"{device} ran out of memory; the last checkpoint is kept; {reason}") from error


class Ledger(TorchDispatchMode):
    """Counts the bytes of storages that operations create, until they are freed.

    Attributes:
        live: bytes now.
        peak: maximum so far; may be reset to `live`.
    """

    supports_higher_order_operators: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: dict[int, weakref.finalize[Any, Any]] = {}  # by `id`, since storages cannot be compared

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
