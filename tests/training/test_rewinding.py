"""Backups of a run, and going back to one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from visagist.cli.app import main
from visagist.errors import RunError
from visagist.events import silent
from visagist.training import Crops, TrainOptions, rewind, train_crops
from visagist.training.checkpoint import checkpoint_iteration
from visagist.training.run import RunRecord

Make = Callable[..., TrainOptions]


def test_a_run_goes_back_and_ends_as_it_did(
    source: Crops, target: Crops, options: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = options(backup_every=3, backups=2)
    train_crops(source, target, tmp_path, asked, silent)
    assert rewind(tmp_path).backups == (9, 12)  # the last two of 3, 6, 9 and 12
    ended = (tmp_path / "weights.safetensors").read_bytes()
    with pytest.raises(RunError, match=r"no backup of iteration 6 \(there are: 9, 12\)"):
        rewind(tmp_path, 6)
    assert main(["rewind", str(tmp_path), "9"]) == 0
    assert "9 of 12 iterations are done; backups: 9, 12" in capsys.readouterr().out
    assert checkpoint_iteration(tmp_path / "checkpoint") == 9
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
