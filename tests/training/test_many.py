"""Three identities in one run: all are learnt, and each can be predicted from every face."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import blob_crops, ending, weights
from visagist.core.errors import ConfigError, RunError
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.recipes.swap import by_identity
from visagist.training.trainer import faces_per_identity

Make = Callable[..., TrainOptions]
People = dict[str, Crops]


@pytest.fixture(scope="module")
def three(crops: People) -> People:
    return {**crops, "anna": blob_crops(3)}


def test_three_identities_are_learnt_and_distinguished(three: People, options: Make, tmp_path: Path) -> None:
    long = options(iterations=150, batch=6, save_every=150, preview_every=150)
    metrics = train_crops(three, tmp_path, long, sign=bytes).metrics
    assert {"ssim_source", "ssim_target", "ssim_anna", "similarity_anna"} <= set(metrics)
    network = TrainedNetwork.open(tmp_path, "cpu")
    assert network.identities == ("source", "target", "anna")
    assert network.origin("anna").footage == three["anna"].footage
    edge = (three["target"].images.shape[1] - 32) // 2
    real = {
        name: torch.from_numpy(crops.images[:4, edge : edge + 32, edge : edge + 32]).permute(0, 3, 1, 2) / 255
        for name, crops in three.items()
    }
    inside = torch.from_numpy(three["target"].hulls[:4, None, edge : edge + 32, edge : edge + 32]) / 255

    def color(pixels: torch.Tensor) -> np.ndarray:
        return ((pixels * inside).sum((0, 2, 3)) / inside.sum()).numpy()

    for name in network.identities:  # each decoder predicts its own identity, whoever is encoded
        predicted = color(network.predict(real["target"], name)[0])
        assert min(real, key=lambda other: float(np.abs(color(real[other]) - predicted).sum())) == name
    sheet = np.asarray(Image.open(tmp_path / "previews" / "00000150.png"))
    assert sheet.shape == (16 + 3 * 4 * 32, 4 * 32, 3)  # rows: four faces of each; columns: real, and as each


def test_a_run_of_three_continues_with_the_same_three(
    crops: People, three: People, options: Make, tmp_path: Path
) -> None:
    train_crops(three, tmp_path / "unbroken", options())
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_crops(three, run, options(), on_event=ending(KeyboardInterrupt, 5))
    with pytest.raises(RunError, match="source, target, anna, not source, target"):
        train_crops(crops, run, options())
    with pytest.raises(RunError, match="another anna faceset"):
        train_crops({**crops, "anna": blob_crops(4)}, run, options())
    train_crops(three, run, options())
    assert weights(run) == weights(tmp_path / "unbroken")
    with pytest.raises(RunError, match=r"'bert'.*source, target, anna"):
        TrainedNetwork.open(run, "cpu").origin("bert")


@pytest.mark.parametrize("name", ["source", "target", "shared", "", "a b", "../x"])
def test_names_that_cannot_name_an_identity_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name an identity"):
        by_identity(1, 2, {name: 3})


@pytest.mark.parametrize(
    ("batch", "identities", "faces"), [(8, 2, (5, 3)), (2, 2, (1, 1)), (6, 3, (2, 2, 2)), (7, 3, (3, 2, 2))]
)
def test_every_identity_is_in_every_batch(batch: int, identities: int, faces: tuple[int, ...]) -> None:
    assert faces_per_identity(batch, identities) == faces


def test_a_batch_without_a_face_of_each_identity_is_refused(crops: People, options: Make, tmp_path: Path) -> None:
    many = {**crops, **{f"p{i}": blob_crops(i, 8) for i in range(3, 6)}}
    with pytest.raises(ConfigError, match=r"batch of 4 .* 5 identities"):
        train_crops(many, tmp_path, options(batch=4))
