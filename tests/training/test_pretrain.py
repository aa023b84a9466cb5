"""Pretraining on many identities: validation, runs that start from it, and errors."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.faceset.blobs import write_faceset
from tests.training.conftest import blob_crops
from visagist.core.errors import ConfigError, FacesetError, RunError
from visagist.core.tensors import load_tensors
from visagist.faceset import Faceset, Record
from visagist.faceset.split import hold_out_identities
from visagist.jobs.train import pretrain
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.recipes.pretrain import cluster_identities, facesets_in, load_pool
from visagist.training.setup import prepare

Make = Callable[..., TrainOptions]
IDENTITIES = 10


@pytest.fixture(scope="module")
def pool() -> Crops:
    """Ten identities, two of them held out."""
    identities = [blob_crops(seed) for seed in range(100, 100 + IDENTITIES)]
    who = np.repeat(np.arange(IDENTITIES), [len(crops.images) for crops in identities])
    order, held_out = hold_out_identities(who, 0.2)
    return Crops(
        np.concatenate([crops.images for crops in identities])[order],
        np.concatenate([crops.hulls for crops in identities])[order],
        tuple(name for crops in identities for name in crops.footage),
        people=IDENTITIES,
        validation=held_out,
    )


@pytest.fixture(scope="module")
def pretrained(pool: Crops, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained")
    asked = options(iterations=60, save_every=60, preview_every=60)
    metrics = train_crops({"source": pool, "target": pool}, run, asked).metrics
    assert not any(name.startswith("similarity") for name in metrics)  # a pool has no mean embedding
    return run


def test_new_identities_are_learnt_sooner_from_a_pretraining_of_others(
    crops: dict[str, Crops], pool: Crops, pretrained: Path, options: Make, tmp_path: Path
) -> None:
    fresh, fitted = (
        train_crops(crops, tmp_path / name, options(iterations=5, **start))
        for name, start in (("fresh", {}), ("fitted", {"start": pretrained}))
    )
    for name in ("ssim_source", "ssim_target"):
        assert fitted.metrics[name] > fresh.metrics[name] + 0.2
    network = TrainedNetwork.open(tmp_path / "fitted", "cpu")
    assert network.record.ancestor is not None
    assert network.record.ancestor.footage == pool.footage
    assert network.origin("source").footage == crops["source"].footage  # of one person, as in any other run


def test_a_run_starts_with_all_weights_of_a_pretraining(
    crops: dict[str, Crops], pretrained: Path, options: Make, tmp_path: Path
) -> None:
    trainer = prepare(crops, tmp_path, options(start=pretrained), lambda _: None, None).trainer
    weights = load_tensors(pretrained / "weights.safetensors")
    assert set(weights) == set(trainer.weights)
    assert all(torch.equal(weights[name], weight) for name, weight in trainer.weights.items())


def test_a_pool_cannot_be_driven_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--augmentation\.driven"):
        pretrain(tmp_path, tmp_path / "run", options=TrainOptions.model_validate({"augmentation": {"driven": 0.5}}))


def test_a_pool_is_held_once_for_both_identities(pool: Crops, options: Make, tmp_path: Path) -> None:
    pools = {"source": pool, "target": pool}
    datasets = prepare(pools, tmp_path, options(), lambda _: None, None).trainer.datasets
    assert datasets["source"] is datasets["target"]
    assert datasets["source"].validation == pool.validation == 2 * len(pool.images) // IDENTITIES


def test_a_pretraining_draws_no_particular_subject(pretrained: Path) -> None:
    network = TrainedNetwork.open(pretrained, "cpu")
    for name in ("source", "target"):
        assert not network.origins[name].centroid
        with pytest.raises(RunError, match=f"{IDENTITIES} people .* --start {pretrained}"):
            network.origin(name)


def test_people_in_one_faceset_are_distinguished(tmp_path: Path) -> None:
    both = write_faceset(tmp_path / "both", 1, 10)
    with pytest.raises(FacesetError, match="no two people can be distinguished"):
        load_pool(both, "full", 32, 1.25, 0.06)
    for crop in sorted(write_faceset(tmp_path / "other", 2, 12).glob("*.png")):
        shutil.copy(crop, both / f"other-{crop.name}")
    pool, sentence = load_pool(both, "full", 32, 1.25, 0.06)
    assert "22 crops of 2 people" in sentence
    assert (pool.people, pool.validation) == (2, 2)  # the last crop of each
    whole, *_ = Faceset.open(both).load("full", 32, 1.25)
    np.testing.assert_array_equal(pool.images, whole[[*range(9), *range(10, 21), 9, 21]])


def test_tracks_of_a_person_are_clustered_and_those_without_embeddings_are_not(tmp_path: Path) -> None:
    record = Faceset.open(write_faceset(tmp_path / "anna", 1, 1)).records[0]
    generator = np.random.default_rng(0)

    def seen(person: int, track: int) -> Record:
        vector = np.eye(128)[person] + generator.normal(0, 0.05, 128)
        embedding = (vector / np.linalg.norm(vector)).tolist()
        return record.model_copy(update={"track": track, "embedding": None if person < 0 else embedding})

    tracks = [(0, 0), (1, 1), (0, 2), (-1, 3), (1, 4), (2, 5), (2, 5), (-1, 2)]  # person, track
    # The longest tracks come first. The last crop has no embedding, and is of a track that has.
    assert cluster_identities([seen(*each) for each in tracks]).tolist() == [0, 2, 0, -1, 2, 1, 1, 0]


def test_folders_that_are_no_facesets_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FacesetError, match="none: no such folder"):
        facesets_in(tmp_path / "none")
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(FacesetError, match="contains no faceset at any depth"):
        facesets_in(tmp_path)
    anna, bert = (write_faceset(tmp_path / name, seed, 8) for seed, name in enumerate(("anna", "bert")))
    (tmp_path / "link").symlink_to(tmp_path)
    (anna / "notes").mkdir()
    assert facesets_in(tmp_path) == [anna, bert]
    crop = bert / "003.png"
    crop.write_bytes(crop.read_bytes()[:-400])  # its record is complete
    with pytest.raises(FacesetError, match=r"bert/003\.png: damaged"):
        load_pool(tmp_path, "full", 32, 1.25, 0.06)
    shutil.copytree(anna, bert / "more")
    with pytest.raises(FacesetError, match="bert: contains crops and another faceset, more"):
        facesets_in(tmp_path)


@pytest.mark.parametrize("count", [0, 24])
def test_as_many_crops_as_there_are_cannot_be_held_out(source: Crops, count: int) -> None:
    with pytest.raises(FacesetError, match="1 to 23 can"):
        replace(source, validation=count)
    assert replace(source, validation=3).fingerprint != source.fingerprint
