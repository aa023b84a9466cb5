"""When to go back, and what to go back to."""

import json
from pathlib import Path

import pytest
import torch

from visagist.core import tensors as module
from visagist.core.errors import CollapseError, OutputError, RunError
from visagist.core.files import sha256
from visagist.core.tensors import load_hashed, save_tensors
from visagist.training.checkpoint import (
    Checkpoint,
    checkpoint_iteration,
    load_before,
    load_checkpoint,
    save_checkpoint,
)
from visagist.training.stability import Guard, check_attempts


def settled() -> Guard:
    guard = Guard()
    for i in range(200):
        assert guard.verdict(1.0 if i < 20 else 0.2) is None
    return guard


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_guard_sees_what_is_not_a_number(loss: float) -> None:
    assert Guard().verdict(loss) is not None


def test_guard_sees_a_collapse_and_not_one_hard_batch() -> None:
    guard = settled()
    for loss in (0.6, 0.2, 0.6, 0.6, 0.2):
        assert guard.verdict(loss) is None
    verdicts = [guard.verdict(0.7) for _ in range(5)]
    assert verdicts[:4] == [None] * 4
    assert verdicts[4] is not None


def test_guard_passes_over_the_first_iterations() -> None:
    guard = Guard()
    assert all(guard.verdict(loss) is None for loss in (0.1, *[0.9] * 20))


def test_guard_continues_from_its_numbers() -> None:
    guard = settled()
    twin = Guard.of(json.loads(json.dumps(guard.numbers())))
    assert twin == guard


def test_training_may_go_wrong_three_times() -> None:
    for attempt in range(3):
        check_attempts(attempt, 10, "why", 8)
    with pytest.raises(CollapseError, match=r"4 times, last at iteration 10: why\. The weights of iteration 8.*-rate"):
        check_attempts(3, 10, "why", 8)
    with pytest.raises(CollapseError, match="No weights are kept"):
        check_attempts(3, 10, "why", 0)


def checkpoint(iteration: int) -> Checkpoint:
    tensors = {
        "weight/a": torch.randn(3, 4, 5, 5).contiguous(memory_format=torch.channels_last),
        "step/a": torch.ones(()),
    }
    return Checkpoint(iteration, {"rate": 1e-3 / 3, "attempt": 0}, tensors)


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    saved = checkpoint(7)
    save_checkpoint(tmp_path, saved)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert (loaded.iteration, loaded.numbers) == (7, saved.numbers)
    assert all(torch.equal(loaded.tensors[name], saved.tensors[name]) for name in saved.tensors)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_the_latest_is_kept_and_the_one_before(tmp_path: Path) -> None:
    made = {iteration: checkpoint(iteration) for iteration in (1, 2, 3)}
    assert load_before(tmp_path) is None
    for each in made.values():
        save_checkpoint(tmp_path, each)
    files = ["00000002.safetensors", "00000003.safetensors", "latest.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    before = load_before(tmp_path)
    assert before is not None
    assert (before.iteration, before.numbers) == (2, made[2].numbers)
    assert torch.equal(before.tensors["weight/a"], made[2].tensors["weight/a"])
    save_checkpoint(tmp_path, made[1])  # gone back: what came after it is no checkpoint before it
    assert load_before(tmp_path) is None
    assert checkpoint_iteration(tmp_path) == 1


def test_a_checkpoint_of_a_version_that_kept_one_is_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(3))
    latest = tmp_path / "latest.json"
    entry = json.loads(latest.read_text())
    del entry["before"]
    latest.write_text(json.dumps(entry))
    assert checkpoint_iteration(tmp_path) == 3
    save_checkpoint(tmp_path, checkpoint(4))
    before = load_before(tmp_path)
    assert before is not None
    assert before.iteration == 3


def test_killed_between_tensors_and_latest_the_older_one_counts(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    save_tensors(tmp_path / "00000002.safetensors", checkpoint(2).tensors, {})
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.iteration == 1


def test_same_tensors_same_bytes(tmp_path: Path) -> None:
    tensors = checkpoint(1).tensors
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, {"model": "quick", "iteration": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_and_their_hash_are_of_one_file_though_a_training_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A render named the hash of weights that had not drawn it."""
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


def test_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = tmp_path / "latest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(RunError, match="format 9"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["latest.json", "00000001.safetensors"])
def test_damaged_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RunError, match=name):
        load_checkpoint(tmp_path)


def test_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "checkpoint", checkpoint(1))
