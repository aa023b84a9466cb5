"""Repeated commands: with equivalent arguments, after an interruption, and at the same time."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import SMALL, Swap, command, stopped_when, visagist
from visagist.training.checkpoint import read_state
from visagist.training.run import CHECKPOINTS


@pytest.fixture
def copy(swapped: Swap, tmp_path: Path) -> tuple[str | Path, ...]:
    """A short swap in the workspace of a finished one."""
    shutil.copytree(swapped.workspace, tmp_path / "copy")
    arguments = [tmp_path / "out.mp4" if argument == swapped.output else argument for argument in swapped.arguments]
    return (*arguments, "--workspace", tmp_path / "copy", "--frames", "0-4")


def crops(workspace: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in workspace.glob("*/*.jpg")}


@pytest.mark.parametrize(
    "words", [("--allow-damaged",), ("--target-identity", "0", "--identity", "0"), ("--target-reference",)]
)
def test_different_paths_of_the_same_facesets_are_equivalent(
    words: tuple[str, ...], copy: tuple[str | Path, ...], performer: Path, tmp_path: Path
) -> None:
    before = crops(tmp_path / "copy")
    ended = visagist(*copy, *words, *([performer] if words[-1] == "--target-reference" else []))
    assert ended.code == 0, ended.err
    assert before
    assert crops(tmp_path / "copy") == before


def is_training(event: dict[str, object]) -> bool:
    return event["event"] == "progress" and event["step"] == "train"


@pytest.fixture
def long_training(swapped: Swap, tmp_path: Path) -> tuple[str | Path, ...]:
    """A training that never reaches its end or a checkpoint."""
    facesets = (swapped.workspace / "source", swapped.workspace / "target")
    rare = ("--iterations", "9000", "--save-every", "9000", "--preview-every", "9000", "--batch", "2", *SMALL)
    return ("train", *facesets, "-o", tmp_path / "run", *rare)


def test_sigterm_saves_the_training(long_training: tuple[str | Path, ...], tmp_path: Path) -> None:
    done = 0
    with subprocess.Popen(
        command(*long_training, "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if is_training(event):
                done = event["done"]
                if done == 3:
                    time.sleep(0.05)  # into the next step
                    os.kill(process.pid, signal.SIGTERM)
    assert process.returncode == 130
    state = read_state(tmp_path / "run" / CHECKPOINTS)
    assert state is not None
    assert state.latest == done >= 3
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_a_run_is_trained_by_one_process_at_a_time(long_training: tuple[str | Path, ...], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with stopped_when(is_training, *long_training) as process:
        before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
        refused = visagist(*long_training)
        assert refused.code == 1
        assert "run: another training" in refused.err.strip().splitlines()[-1]
        assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
        os.kill(process.pid, signal.SIGKILL)
    again = visagist(*long_training[:4], "--iterations", "1", "--batch", "2", *SMALL, "--device", "cpu")
    assert "another training" not in again.err
