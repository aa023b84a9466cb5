"""Locks and cleaning of folders that several merges share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from visagist.core.errors import OutputError
from visagist.jobs.workspace_locks import ABANDONED_S, clear, clear_abandoned, locked_folder, wait_for

HOLDER = """
import sys, time
from pathlib import Path
from visagist.jobs.workspace_locks import locked_folder
with locked_folder(Path(sys.argv[1]), Path("out.mp4")):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def holder(folder: Path, seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def leave_chunk(folder: Path, key: str = "key") -> Path:
    chunk = folder / key / "chunk-00000000.nut"
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(b"frames")
    return chunk


def make_old(folder: Path) -> None:
    past = time.time() - ABANDONED_S - 60
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (past, past))


def test_a_locked_folder_is_free_after_its_process_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "merge" / "a"
    with holder(folder) as process:
        with pytest.raises(OutputError, match=r"out\.mp4: another merge"), locked_folder(folder, Path("out.mp4")):
            pass
        with locked_folder(tmp_path / "merge" / "b", Path("other.mp4")):  # another output
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with locked_folder(folder, Path("out.mp4")):
            pass
    assert not [path for path in (tmp_path / "merge").iterdir() if path.is_dir()]  # locks may stay


def test_chunks_survive_an_error_until_they_are_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "merge" / "a"
    with pytest.raises(ValueError, match="stop"), locked_folder(folder, Path("out.mp4")):
        chunk = leave_chunk(folder)
        raise ValueError("stop")
    assert chunk.exists()
    with locked_folder(folder, Path("out.mp4")):
        leave_chunk(folder, "other options")
        clear(folder)
    assert not folder.exists()


def test_only_old_and_unlocked_folders_are_deleted(tmp_path: Path) -> None:
    names = [f"{name:0>16}" for name in ("a0", "f0", "b0", "d0")]
    old, fresh, held, deep = (tmp_path / "merge" / name for name in names)
    others = tmp_path / "merge" / "plates"  # a user's own folder beside visagist's
    leave_chunk(others)
    with locked_folder(old, Path("out.mp4")):
        leave_chunk(old)
    leave_chunk(fresh)
    with holder(held):
        leave_chunk(held)
        leave_chunk(deep)
        for folder in (old, held, deep, others):
            make_old(folder)
        leave_chunk(deep)  # written to again, below a folder that is old
        clear_abandoned(tmp_path / "merge")
        assert not old.exists()
        assert not old.with_name(f"{old.name}.lock").exists()
        for folder in (fresh, held, deep, others):
            assert (folder / "key" / "chunk-00000000.nut").exists()


def test_the_second_process_waits_and_is_notified_once(tmp_path: Path) -> None:
    notified: list[float] = []
    with holder(tmp_path / "tables", 1.0):
        start = time.monotonic()
        with wait_for(tmp_path / "tables.lock", lambda: notified.append(1)):
            assert time.monotonic() - start > 0.5
    assert notified == [1]
    with wait_for(tmp_path / "tables.lock", lambda: notified.append(2)):
        pass
    assert notified == [1]


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "merge").write_bytes(b"a file, not a folder")
    with (
        pytest.raises(OutputError, match=r"a\.lock: cannot be created"),
        locked_folder(tmp_path / "merge" / "a", Path("out.mp4")),
    ):
        pass
    with pytest.raises(OutputError, match=r"t\.lock: cannot be created"), wait_for(tmp_path / "merge" / "t.lock", list):
        pass
    (tmp_path / "b").write_bytes(b"a file, not a folder")
    with pytest.raises(OutputError, match=r"b: cannot be created"), locked_folder(tmp_path / "b", Path("out.mp4")):
        pass
