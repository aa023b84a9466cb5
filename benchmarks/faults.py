"""The command line with a fault at one chosen file operation: a kill, or an error of the disk.

    python -m benchmarks.faults ARGUMENTS...   # without a fault; for `strace -e inject`

`benchmarks.crash` chooses the points. Operations are watched in one folder, through Python's audit events and wrapped
functions of `os`; what FFmpeg, Arrow and other libraries write is seen when it is flushed or renamed, and by strace.
"""

import errno
import importlib
import json
import os
import re
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visagist.core.files import TEMPORARY

# Eight frames have several parts and chunks with these.
SMALLER = {
    "visagist.faces.analyze": {"PART_FRAMES": 2},
    "visagist.merging.pipeline": {"BATCH": 2},
    "visagist.jobs.chunks": {"CHUNK_FRAMES": 4},
    "visagist.merging.visibility": {"RESTART_FRAMES": 4},
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Point:
    """One operation of one command, and what goes wrong there."""

    operation: str  # open, fsync, rename, unlink; write for those of strace
    kind: str  # of the file, see `kind_of`
    number: int  # of the operation among those on this kind of file
    phase: str  # before, torn (half of the file is written), after
    fault: str  # kill, ENOSPC, EIO

    def __str__(self) -> str:
        return f"{self.fault} {self.phase} {self.operation} {self.number} of {self.kind}"


def kind_of(path: Path, folder: Path) -> str:
    """The path in the folder without numbers, hashes and what marks temporary files.

    >>> kind_of(Path("/a/run/checkpoints/.00000004.0a1b2c3d.part.safetensors"), Path("/a"))
    'run/checkpoints/N.safetensors'
    """
    parts = path.relative_to(folder).parts
    found = [(TEMPORARY.fullmatch(part), part) for part in parts]
    plain = "/".join(match["stem"] + (match["suffix"] or "") if match else part for match, part in found)
    return re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{10,}", "HASH", plain))


def shorten() -> None:
    """Let this process write parts and chunks of a few frames."""
    for module, values in SMALLER.items():
        for name, value in values.items():
            setattr(importlib.import_module(module), name, value)


class Watch:
    """Logs the operations of this process, and stops it at one of them."""

    def __init__(self, folder: Path, log: Path | None = None, point: Point | None = None) -> None:
        self.folder, self.log, self.point = folder, log, point
        self.counts = Counter[tuple[str, str]]()
        self.lock, self.local = threading.RLock(), threading.local()

    def install(self) -> None:
        """Begin to watch; cannot be undone in this process."""
        sys.addaudithook(self._audit)
        wrapped = {"fsync": self._fsync, "replace": self._two, "rename": self._two, "unlink": self._one}
        for name, watch in {**wrapped, "remove": self._one}.items():
            setattr(os, name, watch(getattr(os, name)))

    def _audit(self, event: str, values: tuple[Any, ...]) -> None:
        if event != "open" or getattr(self.local, "is_inside", False):
            return
        path, _, flags = values
        if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and flags & WRITES:
            self._at("open", Path(os.fsdecode(path)), lambda: None)

    def _fsync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        return lambda handle: self._at("fsync", Path(f"/proc/self/fd/{handle}").readlink(), lambda: real(handle))

    def _two(self, real: Callable[..., None]) -> Callable[..., None]:
        return lambda old, new, **more: self._at("rename", Path(new), lambda: real(old, new, **more))

    def _one(self, real: Callable[..., None]) -> Callable[..., None]:
        def unlink(path: Any, *, dir_fd: int | None = None) -> None:
            home = Path() if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}").readlink()
            self._at("unlink", home / os.fsdecode(path), lambda: real(path, dir_fd=dir_fd))

        return unlink

    def _at(self, operation: str, path: Path, real: Callable[[], None]) -> None:
        """Do one operation, unless it is the point of the fault."""
        path, at = path.absolute(), self.point
        is_missing = operation == "unlink" and not path.exists()
        if is_missing or not path.is_relative_to(self.folder) or path.suffix == ".lock":
            real()
            return
        kind = kind_of(path, self.folder)
        with self.lock:
            number = self.counts[operation, kind]
            self.counts[operation, kind] += 1
            if self.log is not None:
                self.local.is_inside = True
                with self.log.open("a") as log:
                    log.write(json.dumps([operation, kind, path.is_dir()]) + "\n")
                self.local.is_inside = False
        if at is None or (at.operation, at.kind, at.number) != (operation, kind, number):
            real()
            return
        if at.fault != "kill":
            code = getattr(errno, at.fault)
            raise OSError(code, os.strerror(code), str(path))
        if at.phase == "torn":
            os.truncate(path, path.stat().st_size // 2)
        elif at.phase == "after":
            real()
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    from visagist.cli.app import main as visagist

    secrets.token_hex = lambda nbytes=None: "0" * 8  # so that strace knows the names of temporary files
    shorten()
    return visagist(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
