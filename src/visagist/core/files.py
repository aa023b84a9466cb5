"""Atomic writes and what they leave behind, file hashes and the user's configuration folder."""

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from visagist.core.errors import OutputError

_TEMPORARY = re.compile(r"\.(?P<stem>.{1,80})\.[0-9a-f]{8}\.part(\.\w+)?")


@contextmanager
def atomic(path: Path, *, sync_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    It is in the same folder and has the same suffix. The data is flushed to disk before the rename, and the folder
    after it, so that after an error, a kill or a power cut `path` is either as before or complete. Writers of many
    files pass `sync_folder=False` and call `sync` once at the end.

    Raises:
        OutputError: the folder cannot be created or written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        if sync_folder:
            sync(path.parent)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path), str(path.parent), temporary, path, path.parent):
            raise  # concerns a file that the block read, not the output
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another place"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def sync(folder: Path) -> None:
    """Flush the names in a folder to disk, where the platform has that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether a file is the unfinished part of an atomic write, which readers must ignore."""
    return _TEMPORARY.fullmatch(path.name) is not None


def sweep(folder: Path, stem: str | None = None) -> None:
    """Delete what killed processes left unfinished in a folder, for all files or those with one stem.

    Only for the owner of the folder's lock: other processes may be writing. Errors are ignored.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match is not None and stem in (None, match["stem"]):
            with suppress(OSError):
                path.unlink()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` atomically.

    Raises:
        OutputError: the folder cannot be created or written, or the disk is full.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a regular file; OSError for anything else."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for the other end of a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def config_dir() -> Path:
    """Folder of the user's keys and face models: `VISAGIST_CONFIG_DIR`, or the platform's default."""
    chosen = os.environ.get("VISAGIST_CONFIG_DIR")
    return Path(chosen) if chosen else platformdirs.user_config_path("visagist", appauthor=False)
