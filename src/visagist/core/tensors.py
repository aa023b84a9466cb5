"""Tensors in safetensors files, written atomically, with JSON notes in the header."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from visagist.core.errors import ReadError, RunError
from visagist.core.files import atomic, scratch_folder, sha256
from visagist.core.read import check_regular, parse_json

FORMAT = 1
REMEDY = "delete it and run `visagist train` again, which restores it from the checkpoint of its run"


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Write tensors and notes; equal input gives identical bytes.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    # A single metadata entry, because safetensors writes several in random order.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # In a folder of its own, because safetensors writes to a file beside it, of a name that no sweep could tell.
    with atomic(path) as temporary, scratch_folder(path.parent, path.stem[:80]) as folder:
        made = folder / path.name
        try:
            safetensors.torch.save_file(plain, made, {"visagist": json.dumps({"format": FORMAT, **notes})})
        except safetensors.SafetensorError as error:  # raised by safetensors on a full disk
            raise OSError(0, str(error), str(temporary)) from error
        made.replace(temporary)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, independent of the order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_notes(path: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """Read the notes of a file written by `save_tensors`, without its tensors.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        check_regular(path)
        with safetensors.safe_open(path, "pt") as file:
            return _notes(file, path)
    except (ReadError, OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); {remedy}") from error


def load_tensors(path: Path, remedy: str = REMEDY) -> dict[str, Tensor]:
    """Read the tensors of a file written by `save_tensors` to the CPU; errors suggest `remedy`.

    Raises:
        RunError: the file is missing, damaged, or has another format version.
    """
    try:
        check_regular(path)
        with safetensors.safe_open(path, "pt") as file:
            found = _notes(file, path).get("format")
            if found != FORMAT:
                raise RunError(f"{path}: weights format {found}; this version of visagist reads {FORMAT}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (ReadError, OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); {remedy}") from error


def load_hashed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Read tensors, notes and SHA-256 of the same version of a file.

    A training run may replace the file at any time, so it is read until its hash is equal before and after.

    Raises:
        RunError: the file is missing, damaged, or has another format version.
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
        notes = parse_json((file.metadata() or {}).get("visagist", "{}"), path)
    except ReadError as error:
        raise RunError(f"{error}: its header is damaged") from error
    if not isinstance(notes, dict):
        raise RunError(f"{path}: its header is damaged")
    return notes
