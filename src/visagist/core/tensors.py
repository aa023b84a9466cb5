"""Tensors in safetensors files, written atomically, with JSON notes in the header.

Nothing is unpickled: a file holds numbers and text.
"""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from visagist.core.errors import RunError
from visagist.core.files import atomic, sha256

FORMAT = 1
REMEDY = "delete it, and `visagist train` writes it again from the checkpoint of its run"


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Write tensors and notes; the same tensors and notes give the same bytes.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    # One metadata entry: safetensors writes several in random order.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        try:
            safetensors.torch.save_file(plain, temporary, {"visagist": json.dumps({"format": FORMAT, **notes})})
        except safetensors.SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(0, str(error), str(temporary)) from error


def load_notes(path: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """The notes of a file that `save_tensors` wrote, without reading its tensors.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            return _notes(file, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); {remedy}") from error


def load_tensors(path: Path, remedy: str = REMEDY) -> dict[str, Tensor]:
    """The tensors of a file that `save_tensors` wrote, on the CPU.

    Args:
        path: of the file.
        remedy: what to do about a damaged file, for the error message.

    Raises:
        RunError: the file is missing, damaged, or of another format.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = _notes(file, path).get("format")
            if found != FORMAT:
                raise RunError(f"{path}: weights format {found}, this visagist reads {FORMAT}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); {remedy}") from error


def load_hashed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Tensors, notes and the SHA-256 of one and the same file.

    A running training replaces the file with each checkpoint: what is read between two equal hashes is of one file.

    Raises:
        RunError: the file is missing, damaged, or of another format.
    """
    try:
        digest = sha256(path)
        while True:
            tensors, notes = load_tensors(path), load_notes(path)
            before, digest = digest, sha256(path)
            if digest == before:
                return tensors, notes, digest
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error


def _notes(file: Any, path: Path) -> dict[str, Any]:
    try:
        notes = json.loads((file.metadata() or {}).get("visagist", "{}"))
    except ValueError as error:
        raise RunError(f"{path}: its header is damaged ({error})") from error
    if not isinstance(notes, dict):
        raise RunError(f"{path}: its header is damaged")
    return notes
