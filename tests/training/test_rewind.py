"""Going back to a checkpoint of a run on request."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.conftest import contents, ending, killed_at_each_change, weights
from visagist.cli.app import main
from visagist.core.errors import RunError
from visagist.models.bundle import read_record
from visagist.training import Crops, TrainOptions, rewind, train_crops
from visagist.training.checkpoint import saved_iterations
from visagist.training.run import run_lock

Make = Callable[..., TrainOptions]
People = dict[str, Crops]
KEPT = {
    "backup_every": 3,
    "backups": 2,
}  # in addition to the last two checkpoints and the one at the start of the cool-down


@pytest.fixture(scope="module")
def finished(crops: People, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 iterations, with checkpoints at 8, 9 and 12."""
    run = tmp_path_factory.mktemp("finished")
    train_crops(crops, run, options(save_every=3, **KEPT), sign=bytes)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize("iteration", [8, 9])
def test_a_run_goes_back_and_ends_as_it_did(
    iteration: int, crops: People, options: Make, finished: Path, run: Path, tmp_path: Path
) -> None:
    assert rewind(run).checkpoints == (8, 9)
    (run / "previews" / "mine.png").touch()
    went_back = rewind(run, iteration)
    assert (went_back.iteration, went_back.iterations) == (iteration, 12)
    assert rewind(run).checkpoints == ((8,) if iteration == 9 else ())
    assert sorted(path.name for path in (run / "previews").iterdir()) == ["00000006.png", "mine.png"]
    asked = options(save_every=3, **KEPT)
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, stopped, asked, on_event=ending(KeyboardInterrupt, iteration))
    assert weights(run) == weights(stopped)
    assert train_crops(crops, run, asked).resumed_at == iteration
    assert weights(run) == weights(finished)


def test_an_iteration_without_a_checkpoint_is_refused(run: Path) -> None:
    before = contents(run)
    with pytest.raises(RunError, match=r"no checkpoint at iteration 7 \(available: 8, 9, 12\)"):
        rewind(run, 7)
    with run_lock(run), pytest.raises(RunError, match="another training"):
        rewind(run, 8)
    assert contents(run) == before


def test_the_command_goes_back(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewind", str(run), "9"]) == 0
    assert "9 of 12 iterations are done; available checkpoints: 8\n" in capsys.readouterr().out


@pytest.mark.parametrize("finishes", ["rewind", "train"])
def test_a_rewind_that_is_killed_is_finished_by_rewinding_or_training(
    finishes: str, crops: People, options: Make, finished: Path, tmp_path: Path
) -> None:
    """For a run with an unfinished extension, which still has its earlier weights."""
    extended = shutil.copytree(finished, tmp_path / "extended")
    asked = options(iterations=30, **KEPT)
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, extended, asked, on_event=ending(KeyboardInterrupt, 13), sign=bytes)
    assert read_record(extended).iteration == 12
    killed, whole = killed_at_each_change(extended, tmp_path, lambda run: rewind(run, 8))
    assert len(killed) >= 4  # state, deletions, record and weights
    assert read_record(whole).iteration == 8
    for run in killed:
        if finishes == "rewind":
            rewind(run, 8)
        elif rewind(run).iteration == 8:
            with pytest.raises(ZeroDivisionError):
                train_crops(crops, run, asked, on_event=ending(ZeroDivisionError, 9))
        else:
            continue  # killed before it began
        assert contents(run) == contents(whole)


@pytest.mark.parametrize("name", ["state.json", "00000012.safetensors"])
@pytest.mark.parametrize("is_there", [True, False])
def test_an_earlier_checkpoint_replaces_a_damaged_one(
    name: str, is_there: bool, crops: People, options: Make, finished: Path, run: Path
) -> None:
    file = run / "checkpoints" / name
    file.write_bytes(file.read_bytes()[:40])
    if not is_there:
        file.unlink()
    asked = options(save_every=3, **KEPT)
    with pytest.raises(RunError, match="rewind"):
        train_crops(crops, run, asked)
    if is_there and name == "state.json":
        with pytest.raises(RunError, match=r"damaged .*\(available: 8, 9, 12\)"):
            rewind(run)
    if name != "state.json":
        assert saved_iterations(run / "checkpoints") == ([8, 9, 12] if is_there else [8, 9])
        with pytest.raises(RunError):
            rewind(run, 12)
    assert rewind(run, 9).iteration == 9
    assert train_crops(crops, run, asked).resumed_at == 9
    assert weights(run) == weights(finished)
