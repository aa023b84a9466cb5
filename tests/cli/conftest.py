"""The real command line in real processes, on the bundled clips."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT

CLIPS = ("s1_bbaf2n.mpg", "s1_lgwg2n.mpg")
# Enough to run through every step; the face is blurred, which these tests do not judge.
QUICK = ("--iterations", "12", "--save-every", "4", "--preview-every", "12", "--batch", "4")


@dataclass(frozen=True)
class Ended:
    """A process that ended."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "visagist", *map(str, arguments)]


def visagist(*arguments: str | Path, cwd: Path | None = None) -> Ended:
    """Run the command line to its end."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=300, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def killed_when(moment: Callable[[dict[str, object]], bool], *arguments: str | Path) -> bool:
    """Start the command line and kill it with SIGKILL at the first event for which `moment` holds."""
    process = subprocess.Popen(
        command(*arguments, "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("{") and moment(json.loads(line)):
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return True
    process.wait()
    return False


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the bundled source clips."""
    folder = tmp_path_factory.mktemp("source")
    for name in CLIPS:
        shutil.copy(SOURCE / name, folder)
    return folder


@dataclass(frozen=True)
class Swap:
    """The files of one swap."""

    output: Path
    workspace: Path
    arguments: tuple[str | Path, ...]


def swap_arguments(source: Path, output: Path) -> tuple[str | Path, ...]:
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    return ("swap", source, TARGET, "-o", output, *consents, *QUICK)


@pytest.fixture(scope="session")
def swapped(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Swap:
    """A whole swap by one command."""
    output = tmp_path_factory.mktemp("swap") / "out.mp4"
    arguments = swap_arguments(source, output)
    ended = visagist(*arguments)
    assert ended.code == 0, ended.err
    return Swap(output, output.with_name("out.mp4.workspace"), arguments)
