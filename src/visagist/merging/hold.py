"""Folders of a workspace that several merges share, one process at a time in each.

- `hold`: the folder of one render's chunks; whoever comes second is refused
- `wait_for`: work that the second one needs not do again, such as the look at the target; the second one waits
- `clear`, `clear_abandoned`: away with chunks that are done with, or that nobody came back for
The lock is the operating system's, so that it ends with the process, in whatever way that ends.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from visagist.errors import OutputError

LOCK = "lock"
ABANDONED = 7 * 24 * 3600.0  # s without any change, after which nobody is expected back
PATIENCE = 0.2  # s between two looks at a lock
ATTEMPTS = 100  # to make a file in a folder that others make and clear at the same time


@contextmanager
def hold(folder: Path, output: Path) -> Iterator[None]:
    """Make a folder and keep other processes out of it for the time of the block; afterwards it is gone if empty.

    Args:
        folder: of the chunks of `output`.
        output: the render, for the message.

    Raises:
        OutputError: another process holds the folder, or it cannot be made or locked.
    """
    lock = folder / LOCK
    file = _lock(lock)
    if file is None:
        raise OutputError(
            f"{output}: another merge is writing it (with workspace {folder.parents[1]}); wait for its end, or give "
            "another --output"
        )
    try:
        yield
    finally:
        _unlock(lock, file)
        with suppress(OSError):  # not empty: chunks to go on with, or other merges
            folder.rmdir()
            folder.parent.rmdir()


@contextmanager
def wait_for(lock: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process has this lock file, then have it for the time of the block.

    Args:
        lock: the file; gone afterwards.
        tell: called once, if there is something to wait for.

    Raises:
        OutputError: it cannot be made or locked.
    """
    file = _lock(lock)
    if file is None:
        tell()
    while file is None:
        time.sleep(PATIENCE)
        file = _lock(lock)
    try:
        yield
    finally:
        _unlock(lock, file)


def clear(folder: Path) -> None:
    """Delete all chunks in a folder that this process holds, those of earlier calls with other options too.

    What cannot be deleted is no reason for a render to fail; it counts as abandoned later.
    """
    for chunks in folder.iterdir():
        if chunks.is_dir():
            shutil.rmtree(chunks, ignore_errors=True)


def clear_abandoned(merges: Path) -> None:
    """Delete the folders of interrupted merges in which nothing has changed for a week, and which nobody holds."""
    for folder in merges.iterdir():
        if not folder.is_dir() or time.time() - _changed(folder) < ABANDONED:
            continue
        with suppress(OutputError):  # of another user
            file = _lock(folder / LOCK)
            if file is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(file)


def _changed(folder: Path) -> float:
    """When anything in a folder last changed, s since 1970; never, where it goes away while it is looked at."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _lock(path: Path) -> int | None:
    """The open and locked file, or None where another process has it."""
    for _ in range(ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # whoever was here before has just cleared the folder
        except OSError as error:
            raise _cannot(path, error) from error
        try:
            _exclude_others(file)
        except (BlockingIOError, PermissionError):  # POSIX, Windows
            os.close(file)
            return None
        except OSError as error:
            os.close(file)
            raise _cannot(path, error) from error
        # Whoever had it before deleted it at the end; if that was after it was opened here, a third may make it anew.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
    raise OutputError(f"{path}: cannot be made; choose another --workspace")


def _exclude_others(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(path: Path, file: int) -> None:
    with suppress(OSError):  # Windows keeps a file that is open
        path.unlink()
    os.close(file)


def _cannot(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot be made or locked ({error.strerror}); choose a --workspace on another disk")
