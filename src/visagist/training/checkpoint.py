"""The state of a training on disk, whole or not there.

- `Checkpoint`: tensors and a few numbers
- `save_checkpoint`, `load_checkpoint`, `checkpoint_iteration`: in a folder that keeps the latest one
- `save_tensors`, `load_tensors`: safetensors files with a stated format

A checkpoint is two files: tensors, named by their iteration, and `latest.json`, which names them. The tensors are on
the disk before `latest.json` is replaced, and older tensors go after that; so whenever the process is killed,
`latest.json` names a whole file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from visagist.errors import RunError
from visagist.files import atomic, write_atomic

FORMAT = 1


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


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Make `checkpoint` the latest of `folder`.

    Raises:
        OutputError: the folder cannot be written, or the disk is full; the checkpoint before stays.
    """
    name = f"{checkpoint.iteration:08}.safetensors"
    save_tensors(folder / name, checkpoint.tensors, {"iteration": checkpoint.iteration})
    save_numbers(folder, checkpoint)
    for older in folder.glob("*.safetensors"):
        if older.name != name:
            older.unlink()


def save_numbers(folder: Path, checkpoint: Checkpoint) -> None:
    """Rewrite the numbers of a checkpoint whose tensors are already there.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    entry = {"format": FORMAT, "iteration": checkpoint.iteration, "numbers": checkpoint.numbers}
    write_atomic(folder / "latest.json", json.dumps(entry, indent=1) + "\n")


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest checkpoint of `folder`, on the CPU, or None where none was finished.

    Raises:
        RunError: it is damaged or of another format.
    """
    entry = _latest(folder)
    if entry is None:
        return None
    iteration, numbers = entry
    return Checkpoint(iteration, numbers, load_tensors(folder / f"{iteration:08}.safetensors"))


def checkpoint_iteration(folder: Path) -> int:
    """Iterations done at the latest checkpoint of `folder`, 0 where there is none; its tensors are not read.

    Raises:
        RunError: it is damaged or of another format.
    """
    entry = _latest(folder)
    return 0 if entry is None else entry[0]


def _latest(folder: Path) -> tuple[int, dict[str, float]] | None:
    """Iteration and numbers of the latest checkpoint."""
    path = folder / "latest.json"
    if not path.exists():
        return None
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        found, iteration, numbers = entry["format"], int(entry["iteration"]), dict(entry["numbers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged ({error}); delete the run and train again") from error
    if found != FORMAT:
        raise RunError(f"{path}: checkpoint format {found}, this visagist reads {FORMAT}")
    return iteration, numbers


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, str | int]) -> None:
    """Write tensors to a safetensors file, atomically; the same tensors and notes give the same bytes.

    Raises:
        OutputError: it cannot be written, or the disk is full.
    """
    # one entry of metadata: safetensors writes several in random order
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        try:
            safetensors.torch.save_file(plain, temporary, {"visagist": json.dumps({"format": FORMAT, **notes})})
        except safetensors.SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(0, str(error), str(temporary)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that `save_tensors` wrote, on the CPU.

    Raises:
        RunError: the file is missing, damaged, or of another format.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("visagist", "{}")).get("format")
            if found != FORMAT:
                raise RunError(f"{path}: weights format {found}, this visagist reads {FORMAT}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); train again") from error
