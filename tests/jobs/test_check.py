"""`check`: every kind of kept file, damaged one at a time."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Swap, visagist
from tests.cli.conftest import source as source
from tests.cli.conftest import swapped as swapped
from visagist import check


@pytest.fixture
def workspace(swapped: Swap, tmp_path: Path) -> Path:
    return Path(shutil.copytree(swapped.workspace, tmp_path / "workspace"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def first(pattern: str) -> Callable[[Path], Path]:
    return lambda folder: sorted(folder.glob(pattern))[0]


def test_a_finished_workspace_is_whole(workspace: Path) -> None:
    found = check(workspace)
    assert (found.damaged, found.ok) == ((), True)
    assert found.whole > 100
    assert visagist("check", workspace).out.endswith("0 made again, 0 lost\n")


@pytest.mark.parametrize(
    ("choose", "damage", "state"),
    [
        (first("source/*.jpg"), cut, "lost"),
        (first("source/index.parquet"), cut, "made again"),
        (first("source/extract.json"), cut, "made again"),
        (first("tables/*.parquet"), flip, "made again"),
        (first("run/run.toml"), cut, "lost"),
        (first("run/weights.safetensors"), flip, "made again"),
        (first("run/checkpoints/state.json"), cut, "made again"),
        (first("run/checkpoints/*.safetensors"), cut, "lost"),
        (first("run/weights.safetensors"), Path.unlink, "made again"),
        (first("run/previews/*.png"), flip, "lost"),
    ],
)
def test_a_damaged_file_is_found(
    choose: Callable[[Path], Path], damage: Callable[[Path], object], state: str, workspace: Path
) -> None:
    path = choose(workspace)
    damage(path)
    found = check(workspace)
    assert {each.path: each.state for each in found.damaged}.get(path) == state
    assert found.ok is (state != "lost")
    ended = visagist("check", workspace)
    assert ended.code == (0 if found.ok else 1)
    assert path.name in ended.out


@pytest.mark.parametrize("name", ["run/.weights.0a1b2c3d.part.safetensors", ".evaluate.0a1b2c3d.part/real.npy"])
def test_what_a_killed_process_left_is_not_lost(name: str, workspace: Path) -> None:
    (workspace / name).parent.mkdir(exist_ok=True)
    (workspace / name).write_bytes(b"half")
    found = check(workspace)
    assert [(each.path, each.state) for each in found.damaged] == [(workspace / name, "made again")]
    assert found.ok
