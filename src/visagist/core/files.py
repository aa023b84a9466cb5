"""Files that are either whole or not there.

- `atomic`: write beside, flush to the disk, rename
- `sha256`: the hash of a file's bytes, read in blocks
- `config_dir`: the user's own folder (keys, replacements of face models)
"""

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
    """A temporary path beside `path`, with the same suffix, that becomes `path` when the block ends without an error.

    The data is on the disk before the rename. After an error, or when the process is killed, `path` is what it was.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
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
            raise  # a file that the block read, not the one it wrote
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place or free some") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`, whole or not at all.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_dir() -> Path:
    """The user's folder for keys and settings: `VISAGIST_CONFIG_DIR`, else the platform's own place."""
    chosen = os.environ.get("VISAGIST_CONFIG_DIR")
    return Path(chosen) if chosen else platformdirs.user_config_path("visagist", appauthor=False)
