"""Checkpoints for exact resume, and `state.json`, which names the latest one.

A checkpoint is complete on disk before `state.json` names it, and older ones are deleted afterwards. Checkpoints of
iterations after the latest are leftovers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from visagist.core.errors import OutputError, ReadError, RunError
from visagist.core.files import write_atomic
from visagist.core.read import read_json
from visagist.core.settings import Settings
from visagist.core.tensors import load_notes, load_tensors, save_tensors
from visagist.training.schedule import Plan

FORMAT = 2
STATE = "state.json"
REMEDY = "go back to an earlier checkpoint with `visagist rewind`, or delete the run and train again"


class State(Settings):
    """Progress of a training; the content of `state.json`."""

    format: int = FORMAT
    latest: int  # iteration of the checkpoint to continue from
    attempt: int = 0  # rollbacks so far; part of every seed
    rate: float = 1.0  # factor of the learning rate, halved by each rollback
    failures: int = 0  # rollbacks to the last scheduled checkpoint
    before_interruption: int | None = None  # last scheduled checkpoint, if an interruption saved the latest

    @property
    def scheduled(self) -> int:
        """Iteration of the last scheduled checkpoint, to which a rollback goes."""
        return self.latest if self.before_interruption is None else self.before_interruption


@dataclass(frozen=True)
class Checkpoint:
    """A training after some iterations."""

    iteration: int  # iterations done
    plan: Plan  # followed so far
    tensors: dict[str, Tensor]  # weights, averages and optimizer states
    stability: dict[str, float] = field(default_factory=dict)  # statistics of the `LossWatch`

    @property
    def average(self) -> dict[str, Tensor]:
        """EMA weights by their names in the network."""
        prefix = "average/"
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


def read_state(folder: Path) -> State | None:
    """Read the state of a training; None if it has no checkpoint yet.

    Raises:
        RunError: the file is damaged or of another format.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = State.model_validate(read_json(path))
    except (ReadError, ValidationError) as error:
        raise RunError(f"{path}: damaged ({error}); {REMEDY}") from error
    if state.format != FORMAT:
        raise RunError(f"{path}: checkpoint format {state.format}, this visagist reads {FORMAT}")
    return state


def write_state(folder: Path, state: State) -> None:
    """Make an existing checkpoint the latest."""
    write_atomic(folder / STATE, state.model_dump_json(indent=1, exclude_none=True) + "\n")


def save_checkpoint(folder: Path, checkpoint: Checkpoint, state: State) -> None:
    """Write a checkpoint and make it the latest."""
    notes = {"iteration": checkpoint.iteration, "plan": checkpoint.plan.model_dump(), "stability": checkpoint.stability}
    save_tensors(checkpoint_path(folder, checkpoint.iteration), checkpoint.tensors, notes)
    write_state(folder, state)


def load_checkpoint(folder: Path, iteration: int) -> Checkpoint:
    """Load the checkpoint of an iteration to the CPU.

    Raises:
        RunError: it is missing or damaged.
    """
    path = checkpoint_path(folder, iteration)
    plan, stability = _read_header(path)
    return Checkpoint(iteration, plan, load_tensors(path, REMEDY), stability)


def plan_of(folder: Path, iteration: int) -> Plan:
    """The plan of a checkpoint, without reading its tensors."""
    return _read_header(checkpoint_path(folder, iteration))[0]


def _read_header(path: Path) -> tuple[Plan, dict[str, float]]:
    notes = load_notes(path, REMEDY)
    try:
        stability = {str(name): float(value) for name, value in notes["stability"].items()}
        return Plan.model_validate(notes["plan"]), stability
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{path}: its header is damaged ({error}); {REMEDY}") from error


def checkpoint_path(folder: Path, iteration: int) -> Path:
    return folder / f"{iteration:08}.safetensors"


def saved_iterations(folder: Path, until: int | None = None) -> list[int]:
    """Ascending iterations of the checkpoints in a folder, up to `until` if given."""
    found = sorted(int(file.stem) for file in folder.glob(f"{'[0-9]' * 8}.safetensors"))
    return [iteration for iteration in found if until is None or iteration <= until]


def listed(iterations: Sequence[int]) -> str:
    return ", ".join(map(str, iterations)) or "none"


def delete_after(folder: Path, iteration: int, suffix: str = ".safetensors") -> None:
    """Delete numbered files of later iterations."""
    for file in folder.glob(f"{'[0-9]' * 8}{suffix}"):
        if int(file.stem) > iteration:
            delete(file)


def prune(folder: Path, backup_every: int, backups: int, pinned: Iterable[int]) -> None:
    """Delete checkpoints, except the last two, the last `backups` backups, and the last one up to each of `pinned`.

    A backup is the first checkpoint at or after each multiple of `backup_every`.
    """
    saved = saved_iterations(folder)
    first = {iteration // backup_every: iteration for iteration in reversed(saved) if iteration >= backup_every}
    kept = {*saved[-2:], *(sorted(first.values())[-backups:] if backups else ())}
    kept |= {max(i for i in saved if i <= at) for at in pinned if at >= saved[0]}
    for iteration in saved:
        if iteration not in kept:
            delete(checkpoint_path(folder, iteration))


def delete(file: Path) -> None:
    """Delete a file, if it exists."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file}: cannot be deleted ({error.strerror})") from error
