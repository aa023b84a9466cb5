"""Locks between processes, released by the operating system however the process ends."""

from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from visagist.core.errors import OutputError


def lock(path: Path, *, wait: bool) -> AbstractContextManager[object]:
    """Acquire a lock file immediately; leaving the `with` block releases it and keeps the file.

    Args:
        path: the lock file, created with its folder if missing.
        wait: block while another process holds the lock.

    Raises:
        Timeout: another process holds the lock and `wait` is False.
        OutputError: the file cannot be created or locked.
    """
    try:
        # filelock's soft locks, its fallback on file systems without locking, would outlive the process.
        return FileLock(path, fallback_to_soft=False).acquire(blocking=wait)
    except Timeout:
        raise  # a subclass of OSError
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be created or locked ({reason}); choose a folder on another disk") from error
