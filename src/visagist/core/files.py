"""Atomic writes and what they leave behind, file hashes and the user's configuration folder."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from visagist.core.errors import OutputError

_ABANDONED_S = 24 * 3600.0  # age of stale temporary files where locks do not tell
TEMPORARY = re.compile(r"\.(?P<stem>.{1,80})\.[0-9a-f]{8}\.part(?P<suffix>\.\w+)?")  # names of unfinished files


@contextmanager
def atomic(path: Path, *, is_batch: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    It is in the same folder and has the same suffix. The data is flushed to disk before the rename, and the folder
    after it, so that after an error, a kill or a power cut `path` is either as before or complete. Temporary files that
    killed writers of `path` have left are deleted. Writers of many files pass `is_batch=True`, and call `sync` and
    `sweep` once for the folder.

    Raises:
        OutputError: the folder cannot be created or written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _in_use(temporary):
            yield temporary
            flush(temporary)
            temporary.replace(path)
        if not is_batch:
            sync(path.parent)
            sweep(path.parent, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path), str(path.parent), temporary, path, path.parent):
            raise  # concerns a file that the block read, not the output
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another place"
        ) from error
    finally:
        with suppress(OSError):  # a disk that cannot even delete has already been reported
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush the contents of a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
    return TEMPORARY.fullmatch(path.name) is not None


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield a private folder in `parent` that is deleted after the block; those of killed processes are deleted, too.

    Raises:
        OutputError: it cannot be created.
    """
    sweep(parent, Path(name))
    folder = parent / f".{name}.{secrets.token_hex(4)}.part"
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be created ({error.strerror}); free space or choose another place"
        ) from error
    try:
        with _in_use(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path, like: Path | None = None) -> None:
    """Delete what killed processes left unfinished in a folder, or only their attempts to write the file `like`.

    What living processes are writing is locked and stays. Errors are ignored.
    """
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for path in entries:
        match = TEMPORARY.fullmatch(path.name)
        if match is None or (like is not None and (match["stem"], path.suffix) != _temporary_name(like)):
            continue
        with suppress(OSError):
            if _is_abandoned(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _temporary_name(path: Path) -> tuple[str, str]:
    """Stem and suffix of the temporary files of `path`."""
    return path.stem[:80], path.suffix or ".part"


@contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Create `path` if it is missing and lock it, so that `sweep` spares it as long as this process lives."""
    if sys.platform == "win32":  # where an open file cannot be renamed
        yield
        return
    import fcntl  # not on Windows

    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a disk without locks: `sweep` goes by age there
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _is_abandoned(path: Path) -> bool:
    """Whether no process is writing a temporary file or folder any more."""
    if sys.platform == "win32":
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    import fcntl  # not on Windows

    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    finally:
        os.close(handle)
    return True


def write_atomic(path: Path, data: bytes | str, *, is_batch: bool = False) -> None:
    """Write `data` to `path` atomically; `is_batch` as in `atomic`.

    Raises:
        OutputError: the folder cannot be created or written, or the disk is full.
    """
    with atomic(path, is_batch=is_batch) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a regular file; OSError for anything else."""
    with open(path, "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_waiting(path: str, flags: int) -> int:
    """Opener for `open` that does not wait for the other end of a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def config_dir() -> Path:
    """Folder of the user's keys and face models: `VISAGIST_CONFIG_DIR`, or the platform's default."""
    chosen = os.environ.get("VISAGIST_CONFIG_DIR")
    return Path(chosen) if chosen else platformdirs.user_config_path("visagist", appauthor=False)
