"""One training by several processes at once, on one machine or on several: its ranks.

- `joined`: takes part in what `torchrun` has begun; `own_device`: the GPU of this rank
- `World`: which rank this is and how many there are, and what they do together
- `own_parts`: the faces of a batch that are this rank's
- `whole`, `part_of_mean`: what losses divide by, of the whole batch

A batch is one batch, whoever computes it: all ranks draw its random numbers, each computes its own faces, and what a
loss divides by is summed over all ranks first. So the loss of a rank is its part of the loss of the batch, parts add up
(they are not averaged), and several ranks follow one that has the whole batch, up to rounding. Alone, none of this
changes a bit.
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

# A process that is killed is noticed at once, by its connection; this is for a machine that vanishes without a word,
# and the longest that the others wait while the first rank judges, saves and draws previews.
TIMEOUT = timedelta(minutes=10)
BUCKET = 2**23  # numbers that are summed over the ranks at once: 32 MB
VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # that torchrun sets besides WORLD_SIZE

Parts = list[tuple[list[int], tuple[int, ...]]]  # rows of a batch, and how many of them are each person's


@dataclass(frozen=True)
class World:
    """The ranks of a training, seen from one of them.

    Attributes:
        rank: of this process, from 0.
        size: how many there are; 1: this process is alone.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def now(cls) -> "World":
        """That of torch's process group, or one of a single rank where there is none."""
        together = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if together else cls()

    @property
    def leads(self) -> bool:
        """Whether this rank writes, judges and speaks for all."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank; all wait for each other here.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        return flag if self.size == 1 else bool(whole(torch.tensor(float(flag))) > 0)

    def wait(self) -> None:
        """Until all ranks are here.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        self.any(False)

    def agreed(self, number: int) -> int:
        """The first rank's number.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        return number if self.size == 1 else int(whole(torch.tensor(number if self.leads else 0)))

    def told(self, text: str) -> str:
        """The first rank's text.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        if self.size == 1:
            return text
        letters = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).double()
        length = self.agreed(len(letters))
        own = letters if self.leads else letters.new_zeros(length)
        return bytes(whole(own).byte().tolist()).decode()

    def added(self, scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over all ranks of some scalars, which have the same names on all of them.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        if self.size == 1:
            return dict(scalars)
        return dict(zip(scalars, whole(torch.stack(list(scalars.values()))).unbind(), strict=True))

    def gathered(self, own: Tensor, rows: Sequence[int], count: int) -> Tensor:
        """What all ranks have of a batch: `(B, ...)` of the whole from the rows of each.

        Args:
            own: `(b, ...)`, what this rank has.
            rows: b places of it in the batch.
            count: B.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        if self.size == 1:
            return own
        batch = own.new_zeros(count, *own.shape[1:])
        batch[list(rows)] = own
        return whole(batch)

    def add_gradients(self, weights: Iterable[Tensor]) -> None:
        """Make the gradients of some weights their sums over all ranks, in place.

        Not by `DistributedDataParallel`: that hooks one forward of one module, where an iteration here is an encoding,
        a decoding for each person and for the swap, in parts that accumulate, of weights of which some are frozen, and
        then another backward pass for the discriminators; and it averages, where parts of a loss add up. One sum at the
        end of each backward pass does all of this alike. What it gives up is sending while the pass still runs.

        Raises:
            RunError: another rank has ended, or does not answer.
        """
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for gradient in [weight.grad for weight in weights if weight.grad is not None]:
            if bucket and sum(each.numel() for each in bucket) + gradient.numel() > BUCKET:
                _add(bucket)
                bucket = []
            bucket.append(gradient)
        if bucket:
            _add(bucket)

    def apart(self, generator: torch.Generator) -> torch.Generator:
        """A generator of this rank's own, from one that is the same on all; the first rank keeps that."""
        if self.leads:
            return generator
        seeds = torch.randint(2**62, (self.rank,), generator=generator)
        return torch.Generator().manual_seed(int(seeds[-1]))


def _add(gradients: Sequence[Tensor]) -> None:
    """Sum a few gradients over all ranks as one long vector, in place."""
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    _sum(flat)
    for gradient, numbers in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(numbers.view(gradient.shape))


def whole(part: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, without gradient; alone the tensor itself.

    Raises:
        RunError: another rank has ended, or does not answer.
    """
    if World.now().size == 1:
        return part
    total = part.detach().clone(memory_format=torch.contiguous_format)
    _sum(total)
    return total


def _sum(part: Tensor) -> None:
    """Sum a contiguous tensor over all ranks, in place."""
    from torch._subclasses.fake_tensor import FakeTensor  # slow to import

    if not isinstance(part, FakeTensor):  # which has no contents: `memory.py` plays one rank without the others
        with answered():
            dist.all_reduce(part)


def part_of_mean(mean: Tensor, count: int, own: int) -> Tensor:
    """What a mean over some of this rank's faces adds to the mean over the batch; that over a whole batch is itself.

    Args:
        mean: scalar, of faces that count alike.
        count: how many faces.
        own: how many of the batch are this rank's.

    Raises:
        RunError: another rank has ended, or does not answer.
    """
    if World.now().size == 1 and count == own:
        return mean
    return mean * (count / whole(torch.full((), float(own), device=mean.device)))


def own_parts(parts: Parts, world: World) -> tuple[list[int], Parts]:
    """The faces of a batch that are a rank's: of each part, and in it of each person, every n-th.

    Args:
        parts: of `micro_batches`, of the whole batch.
        world: its ranks.

    Returns:
        Rows of the batch that are this rank's, in order; and its parts, in places among those rows.

    Raises:
        ConfigError: a part has fewer faces of somebody than there are ranks.

    >>> own_parts([([0, 1, 2, 3, 4, 5, 6, 7], (5, 3))], World(1, 2))
    ([1, 3, 6], [([0, 1, 2], (2, 1))])
    """
    fewest = min(min(counts) for _, counts in parts)
    if fewest < world.size:
        raise ConfigError(
            f"{world.size} processes cannot share a batch (or a part of one, see --optimizer.accumulate) in which "
            f"somebody has {fewest} of the faces; give a --batch {-(-world.size // fewest)} times as large, or start "
            f"at most {fewest}"
        )
    if world.size == 1:
        return [row for rows, _ in parts for row in rows], parts
    found: Parts = []
    for rows, counts in parts:
        people = [rows[begin:end] for begin, end in pairwise([0, *accumulate(counts)])]
        mine = [person[world.rank :: world.size] for person in people]
        found.append(([row for person in mine for row in person], tuple(len(person) for person in mine)))
    own = sorted(row for rows, _ in found for row in rows)
    place = {row: i for i, row in enumerate(own)}
    return own, [([place[row] for row in rows], counts) for rows, counts in found]


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Take part, for the time of the block, in the training that `torchrun` has begun; alone without it.

    Where the program that calls has made a process group already, that is used.

    Args:
        environment: with WORLD_SIZE, and if that is above 1 with what else torchrun sets.

    Raises:
        ConfigError: part of that is missing, or this torch cannot do it.
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
    # What travels between GPUs goes by NCCL, flags by gloo: those are looked at on the CPU, and a rank that has gone is
    # noticed there at once.
    both = torch.cuda.is_available() and dist.is_nccl_available()
    with answered():
        dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo", timeout=TIMEOUT)
    try:
        yield World.now()
    finally:
        dist.destroy_process_group()


def own_device(asked: str, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this rank: of several on one machine each takes the GPU of its own number.

    Args:
        asked: `auto`, `cpu`, `cuda` or what else `device.choose` knows.
        environment: with LOCAL_RANK, the number of this rank on its machine.

    Raises:
        ConfigError: all ranks would take the same GPU, or one that cannot be shared out.
    """
    if World.now().size == 1:
        return asked
    if asked not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"several processes cannot all train on '{asked}'; leave --device at auto, cuda or cpu")
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    return f"cuda:{environment.get('LOCAL_RANK', '0')}"


@contextmanager
def answered() -> Iterator[None]:
    """Say it in our words where the other ranks do not answer.

    Raises:
        RunError: they do not.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0]
        raise RunError(
            f"another process of this training has ended or does not answer ({said}); the same command goes on from "
            "the last checkpoint"
        ) from error
