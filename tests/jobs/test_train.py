"""Training on facesets, in Python and on the command line."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import CLIPS, SMALL, visagist
from tests.faceset.blobs import write_faceset
from tests.training.conftest import contents, small_options
from tests.training.test_train import Signalled
from visagist.core.errors import ConfigError, FacesetError, VisagistError
from visagist.core.events import Event, Note, Result
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.faceset import Faceset
from visagist.jobs.train import pretrain, train
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import verify
from visagist.training.checkpoint import read_state
from visagist.training.data import load_crops

TINY = {"model": "original", "settings": {"size": 32, "width": 4, "latent": 8}}
TINY_COMMAND = "--model original --settings.size 32 --settings.width 4 --settings.latent 8 --batch 4 --device cpu"


@pytest.fixture(scope="module")
def facesets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("facesets")
    return write_faceset(folder / "source", 1, 10), write_faceset(folder / "target", 2, 12)


def test_a_run_records_the_facesets_and_its_previews_are_signed(facesets: tuple[Path, Path], tmp_path: Path) -> None:
    events: list[Event] = []
    source, target = (Faceset.open(folder) for folder in facesets)
    options = small_options(iterations=None, preview_every=3, augmentation={"yaw_bins": 18}, **TINY)
    run = train(source, str(facesets[1]), tmp_path / "run", iterations=3, options=options, on_event=events.append)
    network = TrainedNetwork.open(run, "cpu")
    for name, faceset in (("source", source), ("target", target)):
        assert network.origins[name].footage == faceset.footage_hashes
        np.testing.assert_allclose(network.origins[name].centroid, faceset.centroid(), atol=1e-6)
    (preview,) = [event.path for event in events if isinstance(event, Result)]
    assert preview == tmp_path / "run" / "previews" / "00000003.png"
    assert verify(preview).ok
    assert verify(preview).synthetic
    ended = visagist("train", "--config", tmp_path / "run" / "train.toml")
    assert (ended.code, "all 3 iterations are done" in ended.err) == (0, True)


def test_a_setting_given_twice_is_refused(facesets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="iterations: given both"):
        train(*facesets, tmp_path / "run", iterations=3, options=small_options(iterations=4))


def test_crops_show_the_coverage_with_its_margin(facesets: tuple[Path, Path]) -> None:
    tight, wide = (load_crops(facesets[0], "full", 32, margin) for margin in (1.0, 1.25))
    assert (tight.images.shape[1:], wide.images.shape[1:]) == ((32, 32, 3), (40, 40, 3))
    assert np.abs(wide.images[:, 4:36, 4:36].astype(float) - tight.images).mean() < 2
    assert 0.2 < (tight.hulls > 127).mean() < 0.8
    assert tight.yaws is not None
    assert tight.yaws.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 8, "optimizer": {"accumulate": 5}}, "accumulate"),
        ({"freeze": ("inter",)}, "no part 'inter'"),
        ({"start": Path("nowhere")}, "no such run"),
        ({"settings": {"size": 31}}, "31"),
    ],
)
def test_impossible_options_are_refused_before_a_crop_is_read(
    changes: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facesets: tuple[Path, Path],
) -> None:
    monkeypatch.setattr("visagist.jobs.train.load_crops", lambda *_: pytest.fail("has read crops"))
    with pytest.raises(VisagistError, match=message):
        train(*facesets, tmp_path / "run", options=small_options(**{**TINY, **changes}))
    assert not (tmp_path / "run" / "run.toml").exists()


def test_a_training_that_cannot_fit_into_memory_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facesets: tuple[Path, Path]
) -> None:
    monkeypatch.setattr("visagist.training.memory.available_memory", lambda _: 2**20)
    with pytest.raises(ConfigError, match="takes about"):
        train(*facesets, tmp_path / "run", options=small_options())
    assert not (tmp_path / "run" / "run.toml").exists()


def test_a_folder_without_crops_is_refused(facesets: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FacesetError, match="empty"):
        train(facesets[0], tmp_path / "empty", tmp_path / "run", options=small_options(**TINY))


@pytest.mark.parametrize(
    ("signals", "words", "done"),
    [
        ((signal.SIGINT,), "interrupted; finished work is saved, and the same command continues", 3),
        ((signal.SIGINT, signal.SIGINT), "stopped at once; the same command continues from the last checkpoint", 0),
    ],
)
def test_the_message_says_whether_an_interruption_saved(
    signals: tuple[int, ...],
    words: str,
    done: int,
    facesets: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("visagist.training.setup.Trainer", Signalled)
    monkeypatch.setattr(Signalled, "signals", signals)
    ended = visagist("train", *facesets, "-o", tmp_path / "run", "--iterations", "9", *TINY_COMMAND.split())
    assert ended.code == 130
    assert "train: stopping after this iteration; Ctrl-C again stops at once" in ended.err
    assert ended.err.splitlines()[-1] == f"visagist: {words}"
    state = read_state(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert state.latest == done


@pytest.mark.parametrize("name", ["source", "target", "anna"])
def test_a_run_among_the_crops_of_a_faceset_is_refused(name: str, facesets: tuple[Path, Path], tmp_path: Path) -> None:
    folders = {"source": facesets[0], "target": facesets[1], "anna": shutil.copytree(facesets[0], tmp_path / "anna")}
    link = tmp_path / "link"
    link.symlink_to(folders[name])
    before = contents(folders[name])
    with pytest.raises(ConfigError, match=f"is the {name} faceset"):
        train(*facesets, link, others={"anna": folders["anna"]}, options=small_options(**TINY))
    assert contents(folders[name]) == before


def test_a_folder_of_facesets_is_pretrained_on_and_fitted_by_command(tmp_path: Path) -> None:
    folder, run, config = tmp_path / "everybody", tmp_path / "run", tmp_path / "options.toml"
    (folder / "some").mkdir(parents=True)
    places = [folder / "anna", folder / "some" / "bert", folder / "some" / "carl"]
    for seed, place in enumerate(places):
        write_faceset(place, seed, 8 + seed)
    small_options(iterations=2, held_out=0.3, **TINY).save(config)
    command = ("pretrain", folder, "-o", run, "--config", config)
    ended = visagist(*command)
    assert ended.code == 0, ended.err
    assert "27 crops of 3 people; 9 are held out for validation" in ended.err
    origins = TrainedNetwork.open(run, "cpu").origins
    assert (origins["source"], origins["source"].people, origins["source"].crops) == (origins["target"], 3, 27)
    assert origins["source"].footage == tuple(f"{seed:064x}" for seed in range(3))
    assert origins["source"].is_alone is False
    assert "all 2 iterations are done" in visagist("pretrain", "--config", run / "pretrain.toml").err
    fitted = ("train", *places[:2], "-o", tmp_path / "fitted", "--start", run, "--config", config)
    assert "starts from the weights of" in visagist(*fitted).err
    write_faceset(folder / "dora", 3, 8)
    ended = visagist(*command)
    assert (ended.code, "another source faceset (27 crops, now 35)" in ended.err) == (1, True)
    with pytest.raises(ConfigError, match="previews would be read as crops"):
        pretrain(folder, folder / "run", options=small_options(**TINY))


@pytest.mark.parametrize("name", ["identity", "face_style", "background_style", "true_face"])
def test_losses_of_a_swap_are_refused_in_a_pretraining(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=name):
        pretrain(tmp_path, tmp_path / "run", options=small_options(losses={name: 1.0}))


def test_a_preset_sets_the_remaining_options_of_a_pretraining(tmp_path: Path) -> None:
    events: list[Event] = []
    folder = tmp_path / "everybody"
    folder.mkdir()
    for seed, name in enumerate(("anna", "bert", "carl")):
        write_faceset(folder / name, seed, 8)
    options = small_options(iterations=None, preset="draft", held_out=0.3, **TINY)
    run = pretrain(folder, tmp_path / "run", iterations=2, options=options, on_event=events.append)
    assert any("preset draft: " in event.message for event in events if isinstance(event, Note))
    assert run.iterations == 2


def test_a_swap_is_extended_and_merged_again(tmp_path: Path) -> None:
    footage, output = tmp_path / "clips", tmp_path / "out.mp4"
    footage.mkdir()
    (footage / CLIPS[0]).symlink_to(SOURCE / CLIPS[0])
    swap = ("swap", footage, TARGET, "-o", output, "--source-consent", SOURCE_CONSENT,
            "--target-consent", TARGET_CONSENT, "--frames", "0-1", "--batch", "4", *SMALL)  # fmt: skip
    renders: list[bytes] = []
    for iterations in ("4", "8", "8"):
        ended = visagist(*swap, "--iterations", iterations)
        assert ended.code == 0, ended.err
        renders.append(output.read_bytes())
    assert renders[0] != renders[1] == renders[2]
