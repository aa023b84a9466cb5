"""Atomic writes, file hashes and the user's configuration folder."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from visagist.core.errors import OutputError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    It is in the same folder and has the same suffix. The data is flushed to disk before the rename, so that `path` is
    unchanged after an error or a kill.

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
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path), str(path.parent), temporary, path, path.parent):
            raise  # concerns a file that the block read, not the output
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another place"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` atomically.

    Raises:
        OutputError: the folder cannot be created or written, or the disk is full.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_dir() -> Path:
    """Folder of the user's keys and face models: `VISAGIST_CONFIG_DIR`, or the platform's default."""
    chosen = os.environ.get("VISAGIST_CONFIG_DIR")
    return Path(chosen) if chosen else platformdirs.user_config_path("visagist", appauthor=False)
