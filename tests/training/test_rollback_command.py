"""Backups of a run, and going back to one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from visagist.cli.app import main
from visagist.core.errors import RunError
from visagist.core.events import Event, Progress, silent
from visagist.training import Crops, TrainOptions, rewind, train_crops
from visagist.training.checkpoint import checkpoint_iteration
from visagist.training.run import RunRecord

Make = Callable[..., TrainOptions]


def stopping(done: int) -> Callable[[Event], None]:
    """EventCallback that answer an iteration with Ctrl-C."""

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == done:
            raise KeyboardInterrupt

    return stop


def test_a_run_goes_back_and_ends_as_it_did(
    source: Crops, target: Crops, options: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = options(backup_every=3, backups=2)
    train_crops(source, target, tmp_path, asked, silent)
    assert rewind(tmp_path).backups == (9, 12)  # the last two of 3, 6, 9 and 12
    ended = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(RunError, match=r"nothing is kept of iteration 6 \(there are: 9, 12\)"):
        rewind(tmp_path, 6)
    assert main(["rewind", str(tmp_path), "9"]) == 0
    assert "9 of 12 iterations are done; it can go back to: 9\n" in capsys.readouterr().out
    assert checkpoint_iteration(tmp_path / "checkpoint") == 9
    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path / "stopped", asked, stopping(9))
    drawing = (tmp_path / "weights.safetensors").read_bytes()
    assert drawing == (tmp_path / "stopped" / "weights.safetensors").read_bytes() != ended
    summary = train_crops(source, target, tmp_path, asked, silent)
    assert (summary.resumed_at, summary.iterations) == (9, 12)
    assert (tmp_path / "weights.safetensors").read_bytes() == ended
    train_crops(source, target, tmp_path, options(backup_every=3, backups=2, iterations=15), silent)
    rewind(tmp_path, 12)
    assert [(plan.iterations, plan.until) for plan in RunRecord.read(tmp_path).instalments] == [(12, 12)]


def test_a_record_gone_back_knows_the_plan_of_that_time(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    for length in (12, 16, 20):
        train_crops(source, target, tmp_path, options(iterations=length, backups=0), silent)
    record = RunRecord.read(tmp_path)

    def plans(done: int) -> list[tuple[int, int]]:
        return [(plan.iterations, plan.until) for plan in record.rewound(done).instalments]

    assert plans(20) == plans(18) == [(12, 12), (16, 16)]
    assert plans(14) == [(12, 12), (16, 14)]
    assert plans(5) == [(12, 5)]
    assert not (tmp_path / "backups").exists()


def previews(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "previews").iterdir())


def test_a_rewind_that_is_killed_is_finished_by_training(
    source: Crops, target: Crops, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for length in (12, 16):
        train_crops(source, target, whole, options(iterations=length, backup_every=8), silent, shutil.copyfile)
    (whole / "previews" / "mine.png").touch()
    shutil.copytree(whole, killed)
    assert previews(whole) == ["00000006.png", "00000012.png", "00000016.png", "mine.png"]
    rewind(whole, 8)
    assert previews(whole) == ["00000006.png", "mine.png"]  # those of the future that is gone back on had stayed

    def kill(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr("visagist.training.rollback.save_weights", kill)
    with pytest.raises(SystemExit):
        rewind(killed, 8)
    monkeypatch.undo()
    assert checkpoint_iteration(killed / "checkpoint") == 8
    assert [plan.until for plan in RunRecord.read(killed).instalments] == [12]
    weights = [folder / "weights.safetensors" for folder in (killed, whole)]
    assert weights[0].read_bytes() != weights[1].read_bytes()  # of the future that is gone back on

    def crash(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 10:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_crops(source, target, killed, options(iterations=16, backup_every=8), crash)
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert RunRecord.read(killed) == RunRecord.read(whole)
    assert rewind(killed).backups == rewind(whole).backups == (8,)
    assert previews(killed) == previews(whole)


def test_a_backup_takes_the_place_of_a_damaged_checkpoint(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path, options(backup_every=3, backups=2), silent)
    (tmp_path / "checkpoint" / "latest.json").write_text("{")
    with pytest.raises(RunError, match=r"damaged .* `visagist rewind`"):
        train_crops(source, target, tmp_path, options(backup_every=3, backups=2), silent)
    with pytest.raises(RunError, match=r"damaged .*\(there are: 9, 12\)"):
        rewind(tmp_path)
    assert rewind(tmp_path, 9).iteration == 9
    assert train_crops(source, target, tmp_path, options(backup_every=3, backups=2), silent).resumed_at == 9


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_a_latest_checkpoint_without_its_tensors_said_train_again_though_the_one_before_was_kept(
    damage: Callable[[Path], object], source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    asked = options(backups=0)
    train_crops(source, target, tmp_path, asked, silent)
    ended = (tmp_path / "weights.safetensors").read_bytes()
    damage(tmp_path / "checkpoint" / "00000012.safetensors")
    with pytest.raises(RunError, match=r"00000012\.safetensors: cannot be read .*`visagist rewind`"):
        train_crops(source, target, tmp_path, asked, silent)
    assert rewind(tmp_path).backups == (8,)
    went_back = rewind(tmp_path, 8)
    assert (went_back.iteration, went_back.backups) == (8, ())
    assert train_crops(source, target, tmp_path, asked, silent).resumed_at == 8
    assert (tmp_path / "weights.safetensors").read_bytes() == ended
