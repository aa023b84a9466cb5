"""Training by several processes (ranks), started by `torchrun`, on one machine or several.

All ranks draw the same random numbers for a batch, and each computes its share of the faces. Gradients are summed once
per iteration and match those of a single process up to rounding.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from itertools import accumulate, pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from visagist.core.errors import ConfigError, RunError

# For a machine that vanishes; a killed process closes its connections and is noticed at once. Longer than the main rank
# takes to validate, save and write previews.
TIMEOUT = timedelta(minutes=10)
BUCKET = 2**23  # float32 numbers summed in one call: 32 MB
VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun in addition to WORLD_SIZE

Parts = list[tuple[list[int], tuple[int, ...]]]  # rows of a batch, and how many of them belong to each identity


@dataclass(frozen=True)
class World:
    """This rank of a training and the number of ranks.

    Methods that communicate raise RunError if another rank has ended or does not respond.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """From torch's process group; a single rank without one."""
        is_joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if is_joined else cls()

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files, validates and emits events."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return flag if self.size == 1 else bool(self._sum(torch.tensor(float(flag))) > 0)

    def wait(self) -> None:
        self.any(False)

    def broadcast_number(self, number: int) -> int:
        """The main rank's number."""
        return number if self.size == 1 else int(self._sum(torch.tensor(number if self.is_main else 0)))

    def broadcast_text(self, text: str) -> str:
        """The main rank's text."""
        if self.size == 1:
            return text
        letters = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        length = self.broadcast_number(len(letters))
        return bytes(self._sum(letters if self.is_main else letters.new_zeros(length)).tolist()).decode()

    def sum_in_place(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, of the same shapes on all ranks, by their sums over the ranks.

        `DistributedDataParallel` hooks one forward pass of one module, but an iteration here decodes several times,
        accumulates gradients and trains discriminators.
        """
        if self.size == 1:
            return
        buckets: list[list[Tensor]] = [[]]
        for tensor in tensors:
            if buckets[-1] and sum(each.numel() for each in buckets[-1]) + tensor.numel() > BUCKET:
                buckets.append([])
            buckets[-1].append(tensor.detach())
        for bucket in filter(None, buckets):
            flat = self._sum(torch.cat([tensor.reshape(-1) for tensor in bucket]))
            for tensor, numbers in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
                tensor.copy_(numbers.view(tensor.shape))

    def _sum(self, tensor: Tensor) -> Tensor:
        with _connection_errors():
            dist.all_reduce(tensor)
        return tensor

    def rank_generator(self, generator: torch.Generator) -> torch.Generator:
        """A different generator for each rank, from one that is the same on all; the main rank keeps that one."""
        if self.is_main:
            return generator
        seeds = torch.randint(2**62, (self.rank,), generator=generator)
        return torch.Generator().manual_seed(int(seeds[-1]))


def split_batch(counts: tuple[int, ...], parts: int, world: World) -> tuple[list[int], Parts]:
    """Split a batch with `counts` faces per identity among ranks and parts, each with faces of every identity.

    Returns:
        This rank's rows of the batch, and its parts as indices into those rows.

    Raises:
        ConfigError: too few faces of an identity.

    >>> split_batch((5, 3), 1, World(1, 2))
    ([1, 3, 6], [([0, 1, 2], (2, 1))])
    """
    if parts * world.size > min(counts):
        raise ConfigError(
            f"a batch of {' + '.join(map(str, counts))} faces cannot be split among {world.size} processes with "
            f"{parts} parts each (--optimizer.accumulate) and faces of every identity in all; give a --batch "
            f"{-(-parts * world.size // min(counts))} times as large, or at most {min(counts)} parts or processes"
        )
    bounds = list(pairwise([0, *accumulate(counts)]))
    found: Parts = []
    for part in range(parts):
        rows = range(part, sum(counts), parts)
        mine = [[row for row in rows if begin <= row < end][world.rank :: world.size] for begin, end in bounds]
        found.append(([row for each in mine for row in each], tuple(map(len, mine))))
    own = sorted(row for rows, _ in found for row in rows)
    return own, [([own.index(row) for row in rows], each) for rows, each in found]


@contextmanager
def join_processes() -> Iterator[World]:
    """Join the process group of `torchrun`, or an existing one, for the duration of the block; otherwise a single rank.

    Raises:
        ConfigError: WORLD_SIZE is set but another variable is not, or this torch has no torch.distributed.
        RunError: the other ranks cannot be reached.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1" or World.current().size > 1:
        yield World.current()
        return
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing or not dist.is_available():
        lack = f"{', '.join(missing)} missing" if missing else "this torch has no torch.distributed"
        raise ConfigError(
            f"WORLD_SIZE is {size}, but {lack}; start several processes with `torchrun --nproc-per-node N -m visagist "
            "train ...`, or unset WORLD_SIZE"
        )
    # Functions of this module have the process group as a default argument. Imported later, by Adam for instance, it
    # would keep the group and its threads alive, and a thread still busy when the process ends aborts it.
    import_module("torch.distributed.nn.functional")
    # NCCL for gradients on GPUs; gloo for flags on the CPU, because it notices a dead rank at once.
    both = torch.cuda.is_available() and dist.is_nccl_available()
    with _connection_errors():
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=TIMEOUT)
    try:
        yield World.current()
    finally:
        dist.destroy_process_group()


def own_device(asked: str) -> str:
    """This rank's device: the GPU with the index LOCAL_RANK.

    Raises:
        ConfigError: all ranks would use the same GPU.
    """
    if World.current().size == 1:
        return asked
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"several processes cannot all train on '{asked}'; leave --device at auto, cuda or cpu")
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@contextmanager
def _connection_errors() -> Iterator[None]:
    """Turn errors of torch.distributed into RunError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunError(
            f"another process of this training has ended or does not respond ({reason}); the same command continues "
            "from the last checkpoint"
        ) from error
