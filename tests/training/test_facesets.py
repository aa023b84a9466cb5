"""From real footage through facesets to a run."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import visagist
from tests.training.test_train import Signalled
from visagist.cli.app import main
from visagist.core.errors import FacesetError, VisagistError
from visagist.core.events import silent
from visagist.faceset import Faceset
from visagist.jobs.extract import extract
from visagist.models.bundle import TrainedNetwork
from visagist.training import TrainOptions
from visagist.training.checkpoint import checkpoint_iteration
from visagist.training.data.crops import load_crops
from visagist.training.train import train

FOOTAGE = Path(visagist.__file__).parent / "demo" / "footage"


@pytest.fixture(scope="module")
def facesets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Facesets of the demo's target and of one clip of its source."""
    folder = tmp_path_factory.mktemp("facesets")
    source, target = folder / "source", folder / "target"
    extract(sorted((FOOTAGE / "source").glob("*.mpg"))[0], source)
    extract(sorted((FOOTAGE / "target").glob("*.mpg"))[0], target)
    return source, target


def test_a_run_knows_whose_faces_it_was_trained_on(
    facesets: tuple[Path, Path], options: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    train(*facesets, tmp_path / "run", options(iterations=3, augmentation={"yaw_bins": 18}), silent)
    run = TrainedNetwork.open(tmp_path / "run", "cpu")
    source, target = (Faceset.open(folder) for folder in facesets)
    assert run.origins["source"].footage == source.footage_hashes
    assert run.origins["target"].footage == target.footage_hashes
    np.testing.assert_allclose(run.origins["source"].centroid, source.centroid(), atol=1e-6)


def test_crops_show_the_coverage_with_its_margin(facesets: tuple[Path, Path]) -> None:
    tight = load_crops(facesets[0], "full", 32, 1.0)
    wide = load_crops(facesets[0], "full", 32, 1.25)
    assert tight.images.shape[1:] == (32, 32, 3)
    assert wide.images.shape[1:] == (40, 40, 3)
    difference = wide.images[:, 4:36, 4:36].astype(float) - tight.images
    assert np.abs(difference).mean() < 2
    assert 0.2 < (tight.hulls > 127).mean() < 0.8
    assert tight.yaws is not None
    np.testing.assert_allclose(tight.yaws, [record.pose[0] for record in Faceset.open(facesets[0]).records], atol=1e-3)


def test_a_folder_without_crops_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FacesetError):
        load_crops(tmp_path / "empty", "full", 32, 1.25)


def test_a_training_that_cannot_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], facesets: tuple[Path, Path]
) -> None:
    monkeypatch.setattr("visagist.training.memory.available", lambda _: 300 * 2**20)
    monkeypatch.setattr("visagist.training.memory.what_fits", lambda *_: [])  # test_memory.py has it; it takes a while
    call = ["train", *map(str, facesets), "-o", str(tmp_path / "run"), "--settings.size", "32", "--device", "cpu"]
    assert main(call) == 1
    said = capsys.readouterr().err
    assert "this training takes about" in said
    assert "0.3 GiB are there; no smaller batch or size that was tried fits" in said
    assert not (tmp_path / "run" / "run.toml").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"batch": 8, "optimizer": {"accumulate": 5}}, "accumulate"),
        ({"freeze": ("inter",)}, "no part 'inter'"),
        ({"start": Path("nowhere")}, "not a run"),
        ({"losses": {"face_style": 1.0, "finish": 1.0}}, "give less --losses.finish, or --start"),
    ],
)
def test_what_asks_for_the_impossible_is_refused_before_a_crop_is_read(
    asked: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facesets: tuple[Path, Path],
    options: Callable[..., TrainOptions],
) -> None:
    monkeypatch.setattr("visagist.training.train.load_crops", lambda *_: pytest.fail("has read crops"))
    with pytest.raises(VisagistError, match=message):
        train(*facesets, tmp_path / "run", options(**asked), silent)
    assert not (tmp_path / "run" / "run.toml").exists()


SMALL = ("--settings.size", "32", "--settings.encoder", "8,16,16", "--settings.decoder", "16,16,8,8", "--device", "cpu")


@pytest.mark.parametrize(
    ("signals", "words", "done"),
    [
        ((signal.SIGINT,), "interrupted; what was done is saved, and the same command continues", 3),
        ((signal.SIGINT, signal.SIGINT), "stopped at once; the same command continues from the last checkpoint", 0),
    ],
)
def test_a_second_ctrl_c_lost_iterations_and_the_command_said_that_they_were_saved(
    signals: tuple[int, ...],
    words: str,
    done: int,
    facesets: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("visagist.training.train.Trainer", Signalled)
    monkeypatch.setattr(Signalled, "signals", signals)
    run = tmp_path / "run"
    assert main(["train", *map(str, facesets), "-o", str(run), "--iterations", "9", "--batch", "4", *SMALL]) == 130
    said = capsys.readouterr().err
    assert "train: stopping after this iteration; Ctrl-C once more stops at once" in said
    assert said.splitlines()[-1] == f"visagist: {words}"
    assert checkpoint_iteration(run / "checkpoint") == done


@pytest.mark.parametrize("name", ["source", "target", "anna"])
def test_a_run_was_written_among_the_crops_of_a_faceset(
    name: str, facesets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anna, link = tmp_path / "anna", tmp_path / "link"
    folder = dict(zip(("source", "target", "anna"), (*facesets, anna), strict=True))[name]
    shutil.copytree(facesets[0], anna)
    link.symlink_to(folder)
    before = sorted(folder.iterdir())
    call = ["train", *map(str, facesets), "--others.anna", str(anna), "-o", str(link)]
    assert main([*call, "--iterations", "1", "--batch", "6", *SMALL]) == 1
    assert f"is the {name} faceset, and a run needs a folder of its own" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_a_file_in_place_of_a_run_is_no_matter_of_its_disk(
    facesets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    assert main(["train", *map(str, facesets), "-o", str(file), "--iterations", "1", "--batch", "4", *SMALL]) == 1
    assert "notes.txt: is a file, not a folder; give a run another name" in capsys.readouterr().err
    assert file.read_text() == "mine"
