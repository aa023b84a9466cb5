"""Pretraining on many people: whom it holds out, what it gives to runs of two, and what it refuses."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.test_reconstruction import write_faceset
from tests.training.conftest import people
from visagist.cli.app import main
from visagist.core.errors import ConfigError, FacesetError, RunError
from visagist.core.events import silent
from visagist.core.tensors import load_tensors
from visagist.demo import TARGET
from visagist.faceset import Faceset, Record
from visagist.jobs.evaluate import evaluate
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, pretrain, train_crops
from visagist.training.recipes.pretrain import arranged, facesets_in, load_pool, told_apart
from visagist.training.run import RunRecord
from visagist.training.train import prepare

Make = Callable[..., TrainOptions]
PEOPLE = 10


@pytest.fixture(scope="module")
def pool() -> Crops:
    """Ten made-up people, two of them held out."""
    everybody = [people(seed) for seed in range(100, 100 + PEOPLE)]
    order, held_out = arranged(np.repeat(np.arange(PEOPLE), [len(crops.images) for crops in everybody]), 0.2)
    return Crops(
        np.concatenate([crops.images for crops in everybody])[order],
        np.concatenate([crops.hulls for crops in everybody])[order],
        tuple(name for crops in everybody for name in crops.footage),
        people=PEOPLE,
        held_out=held_out,
    )


@pytest.fixture(scope="module")
def pretrained(pool: Crops, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained")
    figures = train_crops(pool, pool, run, options(iterations=60, save_every=60, preview_every=60), silent).figures
    assert set(figures) == {"ssim_source", "psnr_source", "ssim_target", "psnr_target"}  # no swap: nobody to be like
    return run


def test_new_people_are_learnt_sooner_from_a_pretraining_of_others(
    source: Crops, target: Crops, pool: Crops, pretrained: Path, options: Make, tmp_path: Path
) -> None:
    assert not set(pool.footage) & {*source.footage, *target.footage}
    fresh, fitted, again = (
        train_crops(source, target, tmp_path / name, options(iterations=5, **start), silent)
        for name, start in (("a", {}), ("b", {"start": pretrained}), ("c", {"start": pretrained}))
    )
    for name in ("ssim_source", "ssim_target"):
        assert fitted.figures[name] > fresh.figures[name] + 0.2
    assert again.weights_sha256 == fitted.weights_sha256
    beginning = RunRecord.read(tmp_path / "b").beginning
    assert beginning is not None
    assert beginning.footage == pool.footage
    assert (
        TrainedNetwork.open(tmp_path / "b", "cpu").origin("source").footage == source.footage
    )  # of two people, as any other


def test_a_run_begins_with_all_that_was_pretrained(
    source: Crops, target: Crops, pretrained: Path, options: Make, tmp_path: Path
) -> None:
    begun = prepare({"source": source, "target": target}, tmp_path, options(start=pretrained), silent, None).trainer
    weights = load_tensors(pretrained / "weights.safetensors")
    assert set(weights) == set(begun.weights)
    assert all(torch.equal(weights[name], weight) for name, weight in begun.weights.items())


def test_a_pool_is_held_once_for_both_identities(pool: Crops, options: Make, tmp_path: Path) -> None:
    sides = prepare({"source": pool, "target": pool}, tmp_path, options(), silent, None).trainer.sides
    assert sides["source"] is sides["target"]
    assert sides["source"].held_out == pool.held_out == 2 * len(pool.images) // PEOPLE


def test_a_pretraining_draws_nobody_in_particular(pretrained: Path, options: Make, tmp_path: Path) -> None:
    run = TrainedNetwork.open(pretrained, "cpu")
    for name in ("source", "target"):
        assert not run.origins[name].centroid
        with pytest.raises(RunError, match=f"a pretraining of 10 people .* --start {pretrained}"):
            run.origin(name)
    with pytest.raises(RunError, match="a pretraining of 10 people"):
        evaluate(TARGET, TARGET, tmp_path, run=pretrained, workspace=tmp_path / "space", device="cpu")
    for name in ("identity", "face_style", "background_style", "true_face"):
        with pytest.raises(ConfigError, match=f"{name} needs a swap of one person for another"):
            pretrain(tmp_path, tmp_path / "run", options(losses={name: 1.0}), silent)


def test_a_folder_of_facesets_is_pretrained_on_and_fitted_by_command(
    options: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run, config = tmp_path / "everybody", tmp_path / "run", tmp_path / "options.toml"
    (folder / "some").mkdir(parents=True)
    places = [folder / "anna", folder / "some" / "bert", folder / "some" / "carl"]
    for seed, place in enumerate(places):
        write_faceset(place, seed, 8 + seed)
    tiny = {"model": "original", "settings": {"size": 32, "width": 4, "latent": 8}}
    options(iterations=2, held_out=0.3, **tiny).save(config)
    assert main(["pretrain", str(folder), "-o", str(run), "--config", str(config)]) == 0
    assert "27 crops of 3 people; held out are 9, those of 1 of the people" in capsys.readouterr().err
    record = RunRecord.read(run)
    assert (record.source, record.source.people, record.source.crops) == (record.target, 3, 27)
    assert record.source.footage == tuple(f"{seed:064x}" for seed in range(3))
    assert record.source.is_alone is False
    assert main(["pretrain", "--config", str(run / "pretrain.toml")]) == 0
    assert "all 2 iterations are done" in capsys.readouterr().err
    fitting = ["-o", str(tmp_path / "fitted"), "--start", str(run), "--config", str(config)]
    assert main(["train", str(places[0]), str(places[1]), *fitting]) == 0
    assert "begins with the weights of" in capsys.readouterr().err
    write_faceset(folder / "dora", 3, 8)
    assert main(["pretrain", str(folder), "-o", str(run), "--config", str(config)]) == 1
    assert "begun with another source faceset (27 crops, now 35)" in capsys.readouterr().err
    assert main(["pretrain", str(folder), "-o", str(folder / "run"), "--config", str(config)]) == 1
    assert "where its previews would be taken for crops" in capsys.readouterr().err


def test_a_preset_fills_what_a_pretraining_leaves_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, run = tmp_path / "everybody", tmp_path / "run"
    folder.mkdir()
    for seed, name in enumerate(("anna", "bert", "carl")):
        write_faceset(folder / name, seed, 8)
    tiny = "--model original --settings.size 32 --settings.width 4 --settings.latent 8 --iterations 2 --held-out 0.3"
    asked = ["pretrain", str(folder), "-o", str(run), "--preset", "final", "--device", "cpu", *tiny.split()]
    assert main(asked) == 0
    assert "preset final: " in capsys.readouterr().err
    found = RunRecord.read(run).options
    assert (found.losses.focal_frequency, found.schedule.decay, found.batch) == (50, "late", 8)


def test_people_in_one_faceset_are_told_apart(tmp_path: Path) -> None:
    both = write_faceset(tmp_path / "both", 1, 10)
    with pytest.raises(FacesetError, match="no two people can be told apart"):
        load_pool(both, "full", 32, 1.25, 0.06)
    for crop in sorted(write_faceset(tmp_path / "other", 2, 12).glob("*.png")):
        shutil.copy(crop, both / f"other-{crop.name}")
    found = load_pool(both, "full", 32, 1.25, 0.06)
    assert (found.crops.people, found.strangers, found.crops.held_out) == (2, 0, 2)  # the last crop of each
    whole, _, _ = Faceset.open(both).load("full", 32, 1.25)
    np.testing.assert_array_equal(found.crops.images, whole[[*range(9), *range(10, 21), 9, 21]])


def test_tracks_of_a_person_come_together_and_faces_nobody_knows_stay_apart(tmp_path: Path) -> None:
    record = Faceset.open(write_faceset(tmp_path / "anna", 1, 1)).records[0]
    generator = np.random.default_rng(0)

    def seen(person: int, track: int) -> Record:
        vector = np.eye(128)[person] + generator.normal(0, 0.05, 128)
        embedding = (vector / np.linalg.norm(vector)).tolist()
        return record.model_copy(update={"track": track, "embedding": None if person < 0 else embedding})

    tracks = [(0, 0), (1, 1), (0, 2), (-1, 3), (1, 4), (2, 5), (2, 5), (-1, 2)]  # person, track
    # The longest tracks come first. The last crop has no embedding, and is of a track that has.
    assert told_apart([seen(*each) for each in tracks]).tolist() == [0, 2, 0, -1, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("crops", "part", "held"),
    [
        ((5,) * 20, 0.06, {0: 0, 10: 5}),  # one of twenty
        ((1, 2, 3, 4, 5, 6), 0.34, {1: 2, 4: 5}),  # two of six, neither the smallest nor the largest
        ((10, 20, 30), 0.1, {0: 1, 1: 2, 2: 3}),  # less than half a person: the end of everybody
        ((9, 9), 0.49, {0: 4, 1: 4}),  # two people are always trained on
        ((1, 12), 0.1, {0: 0, 1: 1}),
        ((1,) * 8, 0.06, {4: 1}),  # whose end would be all there is
    ],
)
def test_people_with_as_many_crops_as_most_are_held_out(
    crops: tuple[int, ...], part: float, held: dict[int, int]
) -> None:
    who = np.repeat(np.arange(len(crops)), crops)
    order, count = arranged(who, part)
    assert sorted(order.tolist()) == list(range(len(who)))
    last = who[order[-count:]]
    assert {person: int((last == person).sum()) for person in held} == held
    assert count == sum(held.values())


def test_folders_that_are_no_facesets_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FacesetError, match="none: no such folder"):
        facesets_in(tmp_path / "none")
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(FacesetError, match="no faceset in it, at any depth"):
        facesets_in(tmp_path)
    anna, bert = (write_faceset(tmp_path / name, seed, 8) for seed, name in enumerate(("anna", "bert")))
    (tmp_path / "link").symlink_to(tmp_path)
    (anna / "notes").mkdir()
    assert facesets_in(tmp_path) == [anna, bert]
    crop = bert / "003.png"
    crop.write_bytes(crop.read_bytes()[:-400])  # whose record is whole
    with pytest.raises(FacesetError, match=r"bert/003\.png: damaged"):
        load_pool(tmp_path, "full", 32, 1.25, 0.06)
    shutil.copytree(anna, bert / "more")
    with pytest.raises(FacesetError, match="bert: holds crops and another faceset, more"):
        facesets_in(tmp_path)


@pytest.mark.parametrize("count", [0, 24])
def test_as_many_crops_as_there_are_cannot_be_held_out(source: Crops, count: int) -> None:
    with pytest.raises(FacesetError, match="1 to 23 can"):
        replace(source, held_out=count)
    assert replace(source, held_out=3).fingerprint != source.fingerprint
