"""Kills and disk errors at ten points, one of each mechanism; `make bench-crash` tries all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_commands_recover_from_kills_and_disk_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.crash", "--fixed", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert sorted(entry["fault"] for entry in results) == ["EIO", "ENOSPC", *["kill"] * 8]
    assert [entry["wrong"] for entry in results] == [[]] * 10
