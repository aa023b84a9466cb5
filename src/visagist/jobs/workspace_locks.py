"""Locks and cleaning of a workspace that several merges share.

Lock files are beside the folders they lock, because they remain when the lock is released.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from visagist.core.errors import OutputError
from visagist.core.files import sweep
from visagist.core.locks import lock

ABANDONED_S = 7 * 24 * 3600.0  # time without any change


@contextmanager
def locked_folder(folder: Path, output: Path) -> Iterator[None]:
    """Create and lock a folder for the duration of the block, and delete it afterwards if it is empty.

    Args:
        folder: folder of the chunks of `output`.
        output: the render, for the message.

    Raises:
        OutputError: another process has locked the folder, or it cannot be created or locked.
    """
    try:
        mine = lock(_lock_file(folder), wait=False)
    except Timeout as error:
        raise OutputError(
            f"{output}: another merge is writing it (with workspace {folder.parents[1]}); wait for it to finish, or "
            "choose another --output"
        ) from error
    with mine:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)  # unsigned pictures are for nobody else
            sweep(folder.parent)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be created ({error.strerror}); choose another --workspace") from error
        try:
            yield
        finally:
            with suppress(OSError):  # not empty: it contains chunks to continue with
                folder.rmdir()


@contextmanager
def wait_for(file: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Lock a file for the duration of the block, after waiting for other processes to release it.

    Args:
        file: the lock file; it is not deleted.
        on_wait: called once if the lock is not free.

    Raises:
        OutputError: the file cannot be created or locked.
    """
    try:
        mine = lock(file, wait=False)
    except Timeout:
        on_wait()
        mine = lock(file, wait=True)
    with mine:
        yield


def clear(folder: Path) -> None:
    """Delete all chunks in a folder locked by this process, including those of earlier calls with other options.

    Errors are ignored: a finished render must not fail, and `clear_abandoned` deletes the rest later.
    """
    for chunks in folder.iterdir():
        if chunks.is_dir():
            shutil.rmtree(chunks, ignore_errors=True)


def clear_joined(joined: Path) -> None:
    """Delete the joined chunks, a file or a folder of pictures, if they exist."""
    if joined.is_dir():
        shutil.rmtree(joined, ignore_errors=True)
    else:
        joined.unlink(missing_ok=True)


def clear_abandoned(merges: Path) -> None:
    """Delete folders of interrupted merges that have not changed for a week and are not locked.

    Only folders named as by `output_paths.unfinished_folder`: the user may have a folder `merge` of their own.
    """
    for folder in merges.iterdir():
        is_ours = re.fullmatch("[0-9a-f]{16}", folder.name) and folder.is_dir() and not folder.is_symlink()
        if not is_ours or time.time() - _changed(folder) < ABANDONED_S:
            continue
        # skipped if locked, or owned by another user
        with suppress(Timeout, OutputError), lock(_lock_file(folder), wait=False):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # Windows refuses to delete an open file; filelock deletes it there
                _lock_file(folder).unlink()


def _changed(folder: Path) -> float:
    """Last modification of anything in a folder, s since 1970; the current time if it disappears meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
