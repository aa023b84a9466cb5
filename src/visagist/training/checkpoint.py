"""The state of a training on disk, whole or not there.

- `Checkpoint`: tensors and a few numbers
- `save_checkpoint`, `load_checkpoint`, `checkpoint_iteration`, `has_checkpoint`: in a folder that keeps the latest one
- `load_before`: the one before it, which is kept for when the latest turns out to be bad
- `back_up`, `backed_up`, `forget_after`: earlier ones beside it
- `earlier`, `listed`, `bring_back`: all that can be gone back to, in words, and going back

A checkpoint is two files: tensors, named by their iteration, and `latest.json`, which names them and those of the
checkpoint before. The tensors are on the disk before `latest.json` is replaced, and older tensors go after that; so
whenever the process is killed, `latest.json` names whole files.
"""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from visagist.core.errors import OutputError, RunError
from visagist.core.files import write_atomic
from visagist.core.tensors import load_tensors, save_tensors

FORMAT = 1
GO_BACK = "go back to an earlier state with `visagist rewind`, or delete the run and train again"


@dataclass(frozen=True)
class Checkpoint:
    """Everything from which a training continues exactly.

    Attributes:
        iteration: iterations done.
        numbers: learning rate, attempt, the guard's memory.
        tensors: weights, their averages and the optimizer's moments, by name.
    """

    iteration: int
    numbers: dict[str, float]
    tensors: dict[str, Tensor]

    @property
    def average(self) -> dict[str, Tensor]:
        """The averages of the weights, by their names in the network."""
        prefix = "average/"
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Make `checkpoint` the latest of `folder`, and keep the one before it.

    Raises:
        OutputError: the folder cannot be written, or the disk is full; the checkpoints before stay.
        RunError: what is there is damaged or of another format.
    """
    _save(folder, checkpoint, _entries(folder))


def save_numbers(folder: Path, checkpoint: Checkpoint) -> None:
    """Make a checkpoint the latest, with these numbers, whose tensors are already there.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
        RunError: what is there is damaged or of another format.
    """
    _name(folder, checkpoint, _entries(folder))


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest checkpoint of `folder`, on the CPU, or None where none was finished.

    Raises:
        RunError: it is damaged or of another format.
    """
    for iteration, numbers in _entries(folder)[:1]:
        return Checkpoint(iteration, numbers, load_tensors(_tensors(folder, iteration), GO_BACK))
    return None


def load_before(folder: Path) -> Checkpoint | None:
    """The checkpoint before the latest of `folder`, on the CPU, or None where there is none.

    Raises:
        RunError: it is damaged or of another format.
    """
    for iteration, numbers in _entries(folder)[1:]:
        path = _tensors(folder, iteration)
        if path.exists():  # not where a backup, which is one checkpoint alone, was put into the folder by hand
            return Checkpoint(iteration, numbers, load_tensors(path, GO_BACK))
    return None


def checkpoint_iteration(folder: Path) -> int:
    """Iterations done at the latest checkpoint of `folder`, 0 where there is none; its tensors are not read.

    Raises:
        RunError: it is damaged or of another format.
    """
    return next((iteration for iteration, _ in _entries(folder)), 0)


def has_checkpoint(folder: Path) -> bool:
    """Whether `folder` has a checkpoint, be it of iteration 0."""
    return (folder / "latest.json").exists()


def back_up(checkpoint: Path, backups: Path, keep: int) -> None:
    """Keep what is the latest checkpoint now, and of all that are kept the last `keep`.

    A backup is a folder like that of the checkpoint, named by its iteration; its tensors are a second name of the same
    file where the file system knows such, and take no room until the checkpoint moves on.

    Raises:
        RunError: there is no checkpoint, or it is damaged.
        OutputError: the backup cannot be written, or the disk is full; those before stay.
    """
    name = f"{checkpoint_iteration(checkpoint):08}"
    try:
        _copy(checkpoint, backups / name)
        for older in backed_up(backups)[: -keep or None]:
            shutil.rmtree(backups / f"{older:08}")
    except OSError as error:
        raise OutputError(f"{backups / name}: cannot be written ({error.strerror})") from error


def backed_up(backups: Path) -> list[int]:
    """Iterations of the backups that are there, in order."""
    return sorted(int(folder.name) for folder in backups.glob("[0-9]" * 8))


def forget_after(backups: Path, iteration: int) -> None:
    """Delete the backups of later iterations: they are of a future that the run has gone back on.

    Raises:
        OutputError: one cannot be deleted.
    """
    for later in [each for each in backed_up(backups) if each > iteration]:
        folder = backups / f"{later:08}"
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be deleted ({error.strerror})") from error


def earlier(checkpoint: Path, backups: Path) -> list[int]:
    """Iterations that can be gone back to, in order: those of backups, and of the checkpoint before the latest."""
    before: list[int] = []
    with suppress(RunError):  # a damaged one does not say what was before it
        before = [iteration for iteration, _ in _entries(checkpoint)[1:] if _tensors(checkpoint, iteration).exists()]
    return sorted({*backed_up(backups), *before})


def listed(iterations: Sequence[int]) -> str:
    """Iterations for people.

    >>> listed([250, 500]), listed([])
    ('250, 500', 'none')
    """
    return ", ".join(map(str, iterations)) or "none"


def bring_back(checkpoint: Path, backups: Path, iteration: int) -> Checkpoint:
    """Make a backup, or the checkpoint before the latest, the latest again.

    Returns:
        What it holds.

    Raises:
        RunError: nothing of that iteration is kept, or it is damaged.
        OutputError: the checkpoint cannot be written, or the disk is full.
    """
    there = earlier(checkpoint, backups)
    if iteration not in there:
        raise RunError(f"{backups.parent}: nothing is kept of iteration {iteration} (there are: {listed(there)})")
    folder = backups / f"{iteration:08}"
    # All of it is read before what is there now goes.
    found = load_checkpoint(folder) if folder.exists() else load_before(checkpoint)
    if found is None:
        raise RunError(f"{folder}: damaged (no latest.json); take another one")
    _save(checkpoint, found, [])  # what is there now is not asked: it may be damaged
    return found


Entries = list[tuple[int, dict[str, float]]]  # iteration and numbers of checkpoints, the latest first


def _save(folder: Path, checkpoint: Checkpoint, there: Entries) -> None:
    """Write a checkpoint and delete all but those that it names: itself and the one before among those `there`."""
    save_tensors(_tensors(folder, checkpoint.iteration), checkpoint.tensors, {"iteration": checkpoint.iteration})
    kept = [_tensors(folder, iteration) for iteration in _name(folder, checkpoint, there)]
    for older in folder.glob("*.safetensors"):
        if older not in kept:
            older.unlink()


def _name(folder: Path, checkpoint: Checkpoint, there: Entries) -> list[int]:
    """Write `latest.json`; the iterations that it names."""
    before = [each for each in there if each[0] < checkpoint.iteration][:1]
    entry = {
        "format": FORMAT,
        "iteration": checkpoint.iteration,
        "numbers": checkpoint.numbers,
        "before": [{"iteration": iteration, "numbers": numbers} for iteration, numbers in before],
    }
    write_atomic(folder / "latest.json", json.dumps(entry, indent=1) + "\n")
    return [checkpoint.iteration, *(iteration for iteration, _ in before)]


def _copy(checkpoint: Path, backup: Path) -> None:
    """A checkpoint's two files in a folder of their own, whole or not there."""
    if backup.exists():  # the run came by here before: after a rewind, or a crash
        shutil.rmtree(backup)
    unfinished = backup.with_name(f".{backup.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    tensors = checkpoint / f"{backup.name}.safetensors"
    try:
        os.link(tensors, unfinished / tensors.name)
    except OSError:  # a file system without hard links
        shutil.copyfile(tensors, unfinished / tensors.name)
    shutil.copyfile(checkpoint / "latest.json", unfinished / "latest.json")
    unfinished.rename(backup)


def _tensors(folder: Path, iteration: int) -> Path:
    """The file with a checkpoint's tensors."""
    return folder / f"{iteration:08}.safetensors"


def _entries(folder: Path) -> Entries:
    """Iteration and numbers of the latest checkpoint and of the one before it, as far as there are any."""
    path = folder / "latest.json"
    if not path.exists():
        return []
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        found = entry["format"]
        # Earlier versions kept no checkpoint but the latest.
        entries = [(int(each["iteration"]), dict(each["numbers"])) for each in [entry, *entry.get("before", [])]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged ({error}); {GO_BACK}") from error
    if found != FORMAT:
        raise RunError(f"{path}: checkpoint format {found}, this visagist reads {FORMAT}")
    return entries
