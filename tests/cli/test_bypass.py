"""Ways to render a person under someone else's consent record, each of which must be refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import CLIPS, SMALL, Swap, visagist
from visagist.core.tensors import load_hashed, save_tensors
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.faceset import Faceset
from visagist.models.bundle import Origin, read_record, save_network
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.data.crops import load_crops

Merge = Callable[..., Any]
WEIGHTS = "weights.safetensors"


@pytest.fixture
def merge(performer_record: Path, tmp_path: Path) -> Merge:
    """Merge a clip of the source's speaker with a run that claims to show the target's speaker."""

    def call(run: Path, *more: str | Path) -> Any:
        return visagist(
            "merge", SOURCE / CLIPS[0], "--run", run, "-o", tmp_path / "out.mp4", "--source-consent",
            performer_record, "--target-consent", SOURCE_CONSENT, "--frames", "0-7", *more,
        )  # fmt: skip

    return call


def test_frozen_weights_of_another_run_keep_their_people(
    swapped: Swap, merge: Merge, performer_record: Path, tmp_path: Path
) -> None:
    faces = swapped.workspace
    start = ("--start", faces / "run", "--freeze", "shared", "--freeze", "source", "--iterations", "1")
    trained = visagist("train", faces / "target", faces / "source", "-o", tmp_path / "run", "--batch", "4", *SMALL,
                       *start)  # fmt: skip
    assert trained.code == 0, trained.err
    ended = merge(tmp_path / "run")
    assert ended.code == 1
    assert "started from weights that show someone else" in ended.err
    assert not (tmp_path / "out.mp4").exists()


def test_copied_weights_bring_their_record_along(swapped: Swap, merge: Merge, tmp_path: Path) -> None:
    faces = swapped.workspace
    trained = visagist("train", faces / "target", faces / "source", "-o", tmp_path / "run", "--batch", "4", *SMALL,
                       "--iterations", "1")  # fmt: skip
    assert trained.code == 0, trained.err
    own = tmp_path / "run" / WEIGHTS
    _, notes, _ = load_hashed(own)
    shutil.copy(faces / "run" / WEIGHTS, own)
    assert "shows another person" in merge(tmp_path / "run").err
    tensors, _, _ = load_hashed(own)
    save_tensors(own, tensors, {name: value for name, value in notes.items() if name != "format"})
    assert "not those that its record describes" in merge(tmp_path / "run").err
    assert not (tmp_path / "out.mp4").exists()


@pytest.fixture(scope="module")
def forged(swapped: Swap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that show the source's speaker whatever they see, under a record that states the target's speaker."""
    folder = tmp_path_factory.mktemp("forged")
    crops = load_crops(swapped.workspace / "source", "full", 64, 1.0)
    one = Crops(*(np.repeat(plane[20:21], 16, 0) for plane in (crops.images, crops.hulls)))
    options = TrainOptions.parse(
        {
            "model": "original", "settings": {"width": 24, "latent": 64}, "iterations": 160, "batch": 4, "margin": 1.0,
            "coverage": "full", "preview_every": 1000, "augmentation": {"warp": 0, "driven": 0}, "learning_rate": 2e-3,
        },
        "forged",
    )  # fmt: skip
    train_crops({"source": one, "target": one}, folder / "run", options)
    tensors, _, _ = load_hashed(folder / "run" / WEIGHTS)
    record = read_record(folder / "run")
    people = {name: Faceset.open(swapped.workspace / other) for name, other in
              (("source", "target"), ("target", "source"))}  # fmt: skip
    origins = {
        name: Origin(crops=len(each), footage=each.footage_hashes, centroid=tuple(each.centroid().tolist()),
                     is_alone=True)
        for name, each in people.items()
    }  # fmt: skip
    save_network(folder / "forged.safetensors", tensors, record.model_copy(update={"origins": origins}))
    return folder / "forged.safetensors"


def test_a_forged_record_is_found_out_by_what_the_network_predicts(
    forged: Path, performer: Path, tmp_path: Path
) -> None:
    """The performer may be resembled, so the target is a clip of somebody else."""
    consents = ("--source-consent", TARGET_CONSENT, "--target-consent", TARGET_CONSENT)
    for more in ((), ("--preview", "5", "--target-reference", performer)):
        output = tmp_path / ("sheet.png" if more else "out.mp4")
        ended = visagist("merge", TARGET, "--run", forged, "-o", output, *consents, *more)
        assert ended.code == 1
        assert "shows 'target' of" in ended.err
        assert "rather than the person of --source-consent" in ended.err
        assert not output.exists()


def test_forged_footage_of_a_run_is_found_out_by_the_reference_picture(
    forged: Path, performer: Path, tmp_path: Path
) -> None:
    """The weights state the footage of the record, but the faces that they really show."""
    record = tmp_path / "record.toml"
    evidence = ("--picture", performer, "--footage", TARGET)
    made = visagist("consent", "new", record, "--name", "speaker", "--adult", "--basis", "research-corpus",
                    "--statement", "a test", "--scope", "test", *evidence)  # fmt: skip
    assert made.code == 0, made.err
    tensors, _, _ = load_hashed(forged)
    stated = read_record(forged)
    origins = {"source": stated.origins["target"].model_copy(update={"footage": stated.origins["source"].footage}),
               "target": stated.origins["source"]}  # fmt: skip
    save_network(tmp_path / WEIGHTS, tensors, stated.model_copy(update={"origins": origins}))
    ended = visagist("merge", TARGET, "--run", tmp_path / WEIGHTS, "-o", tmp_path / "out.mp4", "--source-consent",
                     record, "--target-consent", TARGET_CONSENT)  # fmt: skip
    assert ended.code == 1
    assert "shows 'source' of" in ended.err
    assert "rather than the person of --source-consent" in ended.err
    assert not (tmp_path / "out.mp4").exists()
