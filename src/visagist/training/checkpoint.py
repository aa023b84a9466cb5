"""Checkpoints of a training: everything from which it continues exactly.

    checkpoints/
      state.json              which checkpoint is the latest, and what roll-backs changed
      00000250.safetensors    one checkpoint: tensors, and a few numbers in the header

Tensors are on the disk before `state.json` names them, and older ones are deleted after that: killed at any moment,
`state.json` names a whole file. Files of later iterations are leftovers and do not count.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from visagist.core.errors import OutputError, RunError
from visagist.core.files import write_atomic
from visagist.core.settings import Settings
from visagist.core.tensors import load_notes, load_tensors, save_tensors
from visagist.training.schedule import Plan

FORMAT = 2
STATE = "state.json"
REMEDY = "go back to an earlier checkpoint with `visagist rewind`, or delete the run and train again"


class State(Settings):
    """Where a training is."""

    format: int = FORMAT
    latest: int  # iteration of the checkpoint to continue from
    attempt: int = 0  # times that the training was rolled back; part of every seed
    rate: float = 1.0  # factor on the learning rate, halved by each roll-back
    failures: int = 0  # roll-backs to the latest checkpoint


@dataclass(frozen=True)
class Checkpoint:
    """The state after an iteration.

    Attributes:
        iteration: iterations done.
        plan: by which it was trained.
        tensors: weights, their averages and the optimizers' state, by name.
        stability: running means of the stability check, by name.
    """

    iteration: int
    plan: Plan
    tensors: dict[str, Tensor]
    stability: dict[str, float] = field(default_factory=dict)

    @property
    def average(self) -> dict[str, Tensor]:
        """The averages of the weights, by their names in the network."""
        prefix = "average/"
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


def read_state(folder: Path) -> State | None:
    """The state of a training, None if it has no checkpoint yet.

    Raises:
        RunError: the file is damaged or of another format.
    """
    path = folder / STATE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        state = State.model_validate(values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise RunError(f"{path}: damaged ({error}); {REMEDY}") from error
    if state.format != FORMAT:
        raise RunError(f"{path}: checkpoint format {state.format}, this visagist reads {FORMAT}")
    return state


def write_state(folder: Path, state: State) -> None:
    """Make a checkpoint that is there the latest.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    write_atomic(folder / STATE, state.model_dump_json(indent=1) + "\n")


def save_checkpoint(folder: Path, checkpoint: Checkpoint, state: State) -> None:
    """Write a checkpoint and make it the latest.

    Raises:
        OutputError: the folder cannot be written, or the disk is full; earlier checkpoints stay.
    """
    notes = {"iteration": checkpoint.iteration, "plan": checkpoint.plan.model_dump(), "stability": checkpoint.stability}
    save_tensors(path_of(folder, checkpoint.iteration), checkpoint.tensors, notes)
    write_state(folder, state)


def load_checkpoint(folder: Path, iteration: int) -> Checkpoint:
    """The checkpoint of an iteration, on the CPU.

    Raises:
        RunError: it is missing, damaged or of another format.
    """
    path = path_of(folder, iteration)
    notes = load_notes(path, REMEDY)
    try:
        plan = Plan.model_validate(notes["plan"])
        stability = {str(name): float(value) for name, value in notes["stability"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"{path}: its header is damaged ({error}); {REMEDY}") from error
    return Checkpoint(iteration, plan, load_tensors(path, REMEDY), stability)


def plan_of(folder: Path, iteration: int) -> Plan:
    """The plan by which a checkpoint was trained; its tensors are not read.

    Raises:
        RunError: it is missing, damaged or of another format.
    """
    path = path_of(folder, iteration)
    try:
        return Plan.model_validate(load_notes(path, REMEDY)["plan"])
    except (KeyError, ValidationError) as error:
        raise RunError(f"{path}: its header is damaged ({error}); {REMEDY}") from error


def path_of(folder: Path, iteration: int) -> Path:
    """The file of a checkpoint."""
    return folder / f"{iteration:08}.safetensors"


def saved_iterations(folder: Path, until: int | None = None) -> list[int]:
    """Iterations of the checkpoints in a folder, rising, up to `until` if given."""
    found = sorted(int(file.stem) for file in folder.glob(f"{'[0-9]' * 8}.safetensors"))
    return [iteration for iteration in found if until is None or iteration <= until]


def listed(iterations: Sequence[int]) -> str:
    """Iterations for people.

    >>> listed([250, 500]), listed([])
    ('250, 500', 'none')
    """
    return ", ".join(map(str, iterations)) or "none"


def delete_after(folder: Path, iteration: int, suffix: str = ".safetensors") -> None:
    """Delete numbered files of later iterations: the training has gone back before them.

    Raises:
        OutputError: one cannot be deleted.
    """
    for file in folder.glob(f"{'[0-9]' * 8}{suffix}"):
        if int(file.stem) > iteration:
            _delete(file)


def prune(folder: Path, backup_every: int, backups: int, pinned: Iterable[int]) -> None:
    """Delete all checkpoints but the last two, the last `backups` backups, and the last up to each of `pinned`.

    A backup is the first checkpoint at or after each multiple of `backup_every`.

    Raises:
        OutputError: one cannot be deleted.
    """
    there = saved_iterations(folder)
    first = {iteration // backup_every: iteration for iteration in reversed(there) if iteration >= backup_every}
    kept = {*there[-2:], *(sorted(first.values())[-backups:] if backups else ())}
    kept |= {max(i for i in there if i <= at) for at in pinned if at >= there[0]}
    for iteration in there:
        if iteration not in kept:
            _delete(path_of(folder, iteration))


def _delete(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file}: cannot be deleted ({error.strerror})") from error
