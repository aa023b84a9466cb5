"""Checkpoints on disk: what comes back, what is kept, and what is refused."""

from pathlib import Path

import pytest
import torch

from visagist.core import tensors as module
from visagist.core.errors import OutputError, RunError
from visagist.core.files import sha256
from visagist.core.tensors import load_hashed, save_tensors
from visagist.training.checkpoint import (
    Checkpoint,
    State,
    delete_after,
    load_checkpoint,
    plan_of,
    prune,
    read_state,
    save_checkpoint,
    saved_iterations,
)
from visagist.training.schedule import Plan

PLAN = Plan(warm_up=1, cool_down_start=7, total=10)


def checkpoint(iteration: int) -> Checkpoint:
    tensors = {
        "weight/a": torch.randn(3, 4, 5, 5).contiguous(memory_format=torch.channels_last),
        "average/a": torch.ones(()),
    }
    return Checkpoint(iteration, PLAN, tensors, {"mean": 1 / 3, "seen": 7.0})


def save(folder: Path, iteration: int) -> Checkpoint:
    saved = checkpoint(iteration)
    save_checkpoint(folder, saved, State(latest=iteration, rate=1 / 3))
    return saved


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    saved = save(tmp_path, 7)
    assert read_state(tmp_path) == State(latest=7, rate=1 / 3)
    loaded = load_checkpoint(tmp_path, 7)
    assert (loaded.iteration, loaded.plan, loaded.stability) == (7, PLAN, saved.stability)
    assert plan_of(tmp_path, 7) == PLAN
    assert all(torch.equal(loaded.tensors[name], saved.tensors[name]) for name in saved.tensors)
    assert list(loaded.average) == ["a"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert read_state(tmp_path / "nowhere") is None
    assert saved_iterations(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("every", "backups", "pinned", "kept"),
    [
        (100, 3, (), [16, 18]),
        (100, 3, (12, 9), [8, 12, 16, 18]),  # 8: there is none at 9
        (5, 2, (), [10, 16, 18]),
        (5, 0, (18, 100), [16, 18]),
    ],
)
def test_the_last_two_the_backups_and_the_pinned_ones_are_kept(
    every: int, backups: int, pinned: tuple[int, ...], kept: list[int], tmp_path: Path
) -> None:
    for iteration in range(2, 20, 2):
        save(tmp_path, iteration)
        prune(tmp_path, every, backups, pinned)
    assert saved_iterations(tmp_path) == kept
    (tmp_path / "mine.safetensors").touch()
    delete_after(tmp_path, kept[0])
    assert saved_iterations(tmp_path) == kept[:1]
    assert (tmp_path / "mine.safetensors").exists()


def test_same_tensors_same_bytes(tmp_path: Path) -> None:
    tensors = checkpoint(1).tensors
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, {"model": "quick", "iteration": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_and_their_hash_are_of_one_file_though_a_training_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, checkpoint(1).tensors, {})
    load = module.load_tensors

    def load_while_training(path: Path) -> dict[str, torch.Tensor]:
        found = load(path)
        monkeypatch.undo()
        save_tensors(path, checkpoint(2).tensors, {})
        return found

    monkeypatch.setattr(module, "load_tensors", load_while_training)
    tensors, _, digest = load_hashed(path)
    assert digest == sha256(path)
    assert all(torch.equal(tensor, load(path)[name]) for name, tensor in tensors.items())


def test_a_state_of_another_format_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = tmp_path / "state.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 9'))
    with pytest.raises(RunError, match="format 9"):
        read_state(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: data.replace(b"plan", b"flan")])
def test_a_damaged_checkpoint_is_refused_by_name(damage, tmp_path: Path) -> None:
    save(tmp_path, 1)
    for path in tmp_path.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    for act in (load_checkpoint, plan_of):
        with pytest.raises(RunError, match=r"00000001\.safetensors: .*rewind"):
            act(tmp_path, 1)
    if len((tmp_path / "state.json").read_bytes()) == 40:
        with pytest.raises(RunError, match=r"state\.json: damaged"):
            read_state(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save(tmp_path / "file" / "checkpoints", 1)
