"""Folders of a workspace that several merges share, one process at a time in each.

- `hold`: the folder of one render's chunks; whoever comes second is refused
- `wait_for`: work that the second one needs not do again, such as the look at the target; the second one waits
- `clear`, `clear_joined`, `clear_abandoned`: away with what is done with, or that nobody came back for
The lock's file is beside the folder, not in it, because it stays when the lock ends.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from visagist.core.errors import OutputError
from visagist.core.locks import lock

ABANDONED_S = 7 * 24 * 3600.0  # without any change


@contextmanager
def hold(folder: Path, output: Path) -> Iterator[None]:
    """Make a folder and keep other processes out of it for the time of the block; afterwards it is gone if empty.

    Args:
        folder: of the chunks of `output`.
        output: the render, for the message.

    Raises:
        OutputError: another process holds the folder, or it cannot be made or locked.
    """
    try:
        mine = lock(_lock_file(folder), wait=False)
    except Timeout as error:
        raise OutputError(
            f"{output}: another merge is writing it (with workspace {folder.parents[1]}); wait for its end, or give "
            "another --output"
        ) from error
    with mine:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}); choose another --workspace") from error
        try:
            yield
        finally:
            with suppress(OSError):  # not empty: chunks to go on with
                folder.rmdir()


@contextmanager
def wait_for(file: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process has this lock file, then have it for the time of the block.

    Args:
        file: of the lock; empty, and left where it is.
        tell: called once, if there is something to wait for.

    Raises:
        OutputError: it cannot be made or locked.
    """
    try:
        mine = lock(file, wait=False)
    except Timeout:
        tell()
        mine = lock(file, wait=True)
    with mine:
        yield


def clear(folder: Path) -> None:
    """Delete all chunks in a folder that this process holds, those of earlier calls with other options too.

    What cannot be deleted is no reason for a render to fail; it counts as abandoned later.
    """
    for chunks in folder.iterdir():
        if chunks.is_dir():
            shutil.rmtree(chunks, ignore_errors=True)


def clear_joined(joined: Path) -> None:
    """Delete what the chunks were joined into, a file or a folder of pictures; nothing if it is not there."""
    if joined.is_dir():
        shutil.rmtree(joined, ignore_errors=True)
    else:
        joined.unlink(missing_ok=True)


def clear_abandoned(merges: Path) -> None:
    """Delete the folders of interrupted merges in which nothing has changed for a week, and which nobody holds.

    Only what is named as such a folder (`output_paths.place_of`) is ours: a production may have a `merge` of its own.
    """
    for folder in merges.iterdir():
        is_ours = re.fullmatch("[0-9a-f]{16}", folder.name) and folder.is_dir() and not folder.is_symlink()
        if not is_ours or time.time() - _changed(folder) < ABANDONED_S:
            continue
        # held, or of another user
        with suppress(Timeout, OutputError), lock(_lock_file(folder), wait=False):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # Windows keeps a file that is open; there filelock deletes it
                _lock_file(folder).unlink()


def _changed(folder: Path) -> float:
    """When anything in a folder last changed, s since 1970; never, where it goes away while it is looked at."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
