"""Locks between processes.

- `lock`: a lock file; whoever comes second waits, or is told
The lock is the operating system's, so that it ends with the process, in whatever way that ends. Its file stays.
"""

from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from visagist.core.errors import OutputError


def lock(path: Path, *, wait: bool) -> AbstractContextManager[object]:
    """The lock, which is held from now to the end of the block.

    Args:
        path: the file; empty, and made with its folder where it is missing.
        wait: for the end of another process that has it.

    Raises:
        Timeout: another process has it, and `wait` is off.
        OutputError: it cannot be made or locked.
    """
    try:
        # A soft lock, which is what filelock takes where the disk knows no other, would outlast its process.
        return FileLock(path, fallback_to_soft=False).acquire(blocking=wait)
    except Timeout:
        raise  # which is an OSError too
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be made or locked ({reason}); choose a place on another disk") from error
