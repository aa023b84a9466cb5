"""The real command line in real processes, on the bundled clips."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from visagist.cli.app import main
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.media import Reader, write_picture

CLIPS = ("s1_bbaf2n.mpg", "s1_lgwg2n.mpg")
# Enough to run through every step; the face is blurred, which does not matter here.
SMALL = (
    "--model", "quick", "--settings.size", "64", "--settings.encoder", "32,48,64", "--settings.decoder", "64,48,32,16",
)  # fmt: skip
QUICK = ("--iterations", "12", "--save-every", "4", "--preview-every", "12", "--batch", "4", *SMALL)


@dataclass(frozen=True)
class Ended:
    """Result of a finished process."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "visagist", *map(str, arguments)]


def visagist(*arguments: str | Path, cwd: Path | None = None) -> Ended:
    """Run the command line to its end, in this process (which is faster), or in a new one for another folder."""
    if cwd is not None or "--help" in arguments:  # which changes the texts of this process for good
        done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=300, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([*map(str, arguments)])
    return Ended(code, out.getvalue(), err.getvalue())


def only_line(ended: Ended) -> dict[str, Any]:
    """The one line of JSON that a command printed."""
    (line,) = ended.out.splitlines()
    return json.loads(line)


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


@contextmanager
def stopped_when(
    moment: Callable[[dict[str, object]], bool], *arguments: str | Path
) -> Iterator[subprocess.Popen[str]]:
    """The command line, stopped at the first event for which `moment` holds; it is ended after the block."""
    process = subprocess.Popen(
        command(*arguments, "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    )
    assert process.stdout is not None
    with process.stdout:
        assert any(line.startswith("{") and moment(json.loads(line)) for line in process.stdout)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield process
        except BaseException:
            process.kill()  # otherwise a failed test waits for its end
            raise
        finally:
            os.kill(process.pid, signal.SIGCONT)
            process.stdout.read()
            process.wait()


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
    # Other tests segment: those of extraction and merge, and the crash tests. Here it would double the time.
    return ("swap", source, TARGET, "-o", output, *consents, *QUICK, "--masks", "hull")


@pytest.fixture(scope="session")
def swapped(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Swap:
    """A complete swap by one command."""
    output = tmp_path_factory.mktemp("swap") / "out.mp4"
    arguments = swap_arguments(source, output)
    ended = visagist(*arguments)
    assert ended.code == 0, ended.err
    return Swap(output, output.with_name("out.mp4.workspace"), arguments)


def write_frames(path: Path, frames: list[np.ndarray]) -> None:
    """A video of `(h, w, 3)` frames in [0, 1]."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "12", "x264-params": "mbtree=0"})
        (stream.height, stream.width), stream.pix_fmt = frames[0].shape[:2], "yuv420p"
        for frame in frames:
            picture = np.rint(frame * 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def first_frames(path: Path, count: int) -> list[np.ndarray]:
    """As `(h, w, 3)` in [0, 1]."""
    with Reader(path, last=count - 1) as reader:
        return [frame.rgb() for frame in reader]


@pytest.fixture(scope="session")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The speakers of source and target side by side, one second."""
    path = tmp_path_factory.mktemp("two") / "two.mp4"
    pairs = zip(first_frames(SOURCE / CLIPS[0], 25), first_frames(TARGET, 25), strict=True)
    write_frames(path, [np.hstack(pair) for pair in pairs])
    return path


@pytest.fixture(scope="session")
def performer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of the speaker of the target."""
    path = tmp_path_factory.mktemp("performer") / "speaker.png"
    with Reader(TARGET, first=30, last=30) as reader:
        write_picture(path, next(iter(reader)).rgb())
    return path


def write_speaker_record(path: Path, option: str, evidence: Path) -> Path:
    """Write a consent record of the bundled target's speaker, bound by `--picture` or `--footage`."""
    made = visagist(
        "consent", "new", path, "--name", "speaker", "--adult", "--basis", "research-corpus", "--statement", "a test",
        "--scope", "test", option, evidence,
    )  # fmt: skip
    assert made.code == 0, made.err
    return path


@pytest.fixture(scope="session")
def performer_record(performer: Path) -> Path:
    """A consent record of that speaker, bound to the person by the picture."""
    return write_speaker_record(performer.with_name("record.toml"), "--picture", performer)
