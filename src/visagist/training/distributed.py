"""One training by several processes (ranks), started by `torchrun`, on one machine or several.

All ranks draw the same random numbers for a batch, and each computes its own faces of it. A rank's loss is its share of
the loss of the whole batch, so gradients add up (they are not averaged), once per iteration; several ranks follow one
that has the whole batch, up to rounding.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from visagist.core.errors import ConfigError, RunError

# A killed process is noticed at once, by its connection; this is for a machine that vanishes, and the longest that the
# others wait while the first rank validates, saves and draws previews.
TIMEOUT = timedelta(minutes=10)
BUCKET = 2**23  # numbers summed at once: 32 MB
VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # that torchrun sets besides WORLD_SIZE

Parts = list[tuple[list[int], tuple[int, ...]]]  # rows of a batch, and how many of them show each identity


@dataclass(frozen=True)
class World:
    """The ranks of a training, seen from one of them.

    Every method that communicates raises RunError if another rank has ended or does not answer.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def now(cls) -> "World":
        """The one of torch's process group, or a single rank without one."""
        is_joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if is_joined else cls()

    @property
    def is_main(self) -> bool:
        """Whether this rank writes, validates and emits events for all."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return flag if self.size == 1 else bool(self._sum(torch.tensor(float(flag))) > 0)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.any(False)

    def agreed(self, number: int) -> int:
        """The main rank's number."""
        return number if self.size == 1 else int(self._sum(torch.tensor(number if self.is_main else 0)))

    def shared(self, text: str) -> str:
        """The main rank's text."""
        if self.size == 1:
            return text
        letters = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).double()
        length = self.agreed(len(letters))
        return bytes(self._sum(letters if self.is_main else letters.new_zeros(length)).byte().tolist()).decode()

    def sum_in_place(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors, which have the same shapes on all ranks, by their sums over the ranks.

        Not by `DistributedDataParallel`: it hooks one forward pass of one module, where an iteration here encodes,
        decodes per identity and for the swap, in parts that accumulate, with some weights frozen and discriminators
        beside.
        """
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for tensor in tensors:
            if bucket and sum(each.numel() for each in bucket) + tensor.numel() > BUCKET:
                self._sum_bucket(bucket)
                bucket = []
            bucket.append(tensor)
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, tensors: Sequence[Tensor]) -> None:
        flat = self._sum(torch.cat([tensor.detach().reshape(-1) for tensor in tensors]))
        for tensor, numbers in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
            tensor.detach().copy_(numbers.view(tensor.shape))

    def _sum(self, tensor: Tensor) -> Tensor:
        with _answered():
            dist.all_reduce(tensor)
        return tensor

    def own_generator(self, generator: torch.Generator) -> torch.Generator:
        """A generator of this rank's own, from one that is the same on all; the main rank keeps that."""
        if self.is_main:
            return generator
        seeds = torch.randint(2**62, (self.rank,), generator=generator)
        return torch.Generator().manual_seed(int(seeds[-1]))


def own_parts(parts: Parts, world: World) -> tuple[list[int], Parts]:
    """The faces of a batch that a rank computes: every n-th of each part and identity.

    Args:
        parts: of the whole batch.
        world: its ranks.

    Returns:
        Rows of the batch that are this rank's, in order; and its parts, in places among those rows.

    Raises:
        ConfigError: a part has fewer faces of an identity than there are ranks.

    >>> own_parts([([0, 1, 2, 3, 4, 5, 6, 7], (5, 3))], World(1, 2))
    ([1, 3, 6], [([0, 1, 2], (2, 1))])
    """
    fewest = min(min(counts) for _, counts in parts)
    if fewest < world.size:
        raise ConfigError(
            f"{world.size} processes cannot share a batch (or a part of one, see --optimizer.accumulate) with {fewest} "
            f"faces of an identity; give a --batch {-(-world.size // fewest)} times as large, or start at most {fewest}"
        )
    if world.size == 1:
        return [row for rows, _ in parts for row in rows], parts
    found: Parts = []
    for rows, counts in parts:
        identities = [rows[begin:end] for begin, end in pairwise([0, *accumulate(counts)])]
        mine = [each[world.rank :: world.size] for each in identities]
        found.append(([row for each in mine for row in each], tuple(len(each) for each in mine)))
    own = sorted(row for rows, _ in found for row in rows)
    place = {row: i for i, row in enumerate(own)}
    return own, [([place[row] for row in rows], counts) for rows, counts in found]


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Take part, for the time of the block, in the training that `torchrun` has begun; alone without it.

    A process group that the calling program has made is used.

    Args:
        environment: with WORLD_SIZE, and if that is above 1 with the other variables that torchrun sets.

    Raises:
        ConfigError: a variable is missing, or this torch has no torch.distributed.
        RunError: the other ranks cannot be reached.
    """
    size = environment.get("WORLD_SIZE", "1")
    if size == "1" or World.now().size > 1:
        yield World.now()
        return
    missing = [name for name in VARIABLES if name not in environment]
    if missing or not dist.is_available():
        lack = f"{', '.join(missing)} missing" if missing else "this torch has no torch.distributed"
        raise ConfigError(
            f"WORLD_SIZE is {size}, but {lack}; start several processes with `torchrun --nproc-per-node N -m visagist "
            "train ...`, or unset WORLD_SIZE"
        )
    # GPUs communicate by NCCL, flags by gloo: those are looked at on the CPU, and a dead rank is noticed there at once.
    both = torch.cuda.is_available() and dist.is_nccl_available()
    with _answered():
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=TIMEOUT)
    try:
        yield World.now()
    finally:
        dist.destroy_process_group()


def own_device(asked: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this rank: each rank on a machine takes the GPU of its own number (LOCAL_RANK).

    Raises:
        ConfigError: all ranks would take the same GPU.
    """
    if World.now().size == 1:
        return asked
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"several processes cannot all train on '{asked}'; leave --device at auto, cuda or cpu")
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    return f"cuda:{environment.get('LOCAL_RANK', '0')}"


@contextmanager
def _answered() -> Iterator[None]:
    """Raise RunError if the other ranks do not answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunError(
            f"another process of this training has ended or does not answer ({reason}); the same command continues "
            "from the last checkpoint"
        ) from error
