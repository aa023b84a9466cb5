"""Three people in one run: everybody is learnt, anybody can be drawn as anybody."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import people
from visagist.core.errors import ConfigError, RunError
from visagist.core.events import silent
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.trainer import faces_each

Make = Callable[..., TrainOptions]


@pytest.fixture(scope="module")
def anna() -> Crops:
    return people(3)


def test_three_people_are_learnt_and_told_apart(
    source: Crops, target: Crops, anna: Crops, options: Make, tmp_path: Path
) -> None:
    long = options(iterations=150, batch=6, save_every=150, preview_every=150)
    summary = train_crops(source, target, tmp_path, long, silent, shutil.copyfile, {"anna": anna})
    assert {f"ssim_{name}" for name in ("source", "target", "anna")} <= set(summary.figures)
    run = TrainedNetwork.open(tmp_path, "cpu")
    assert run.identities == ("source", "target", "anna")
    assert run.origin("anna").footage == anna.footage
    edge = (target.images.shape[1] - 32) // 2
    seen = torch.from_numpy(target.images[:4, edge : edge + 32, edge : edge + 32]).permute(0, 3, 1, 2).float() / 255
    inside = torch.from_numpy(target.hulls[:4, None, edge : edge + 32, edge : edge + 32]).float() / 255

    def color(pixels: torch.Tensor) -> np.ndarray:
        return ((pixels * inside).sum((0, 2, 3)) / inside.sum()).numpy()

    drawn = {name: color(run.predict(seen, name)[0]) for name in run.identities}
    real = {
        name: color(torch.from_numpy(crops.images[:4, edge : edge + 32, edge : edge + 32]).permute(0, 3, 1, 2) / 255)
        for name, crops in (("source", source), ("target", target), ("anna", anna))
    }
    for name, seen_color in drawn.items():  # whoever is encoded, each decoder draws its own person
        assert min(real, key=lambda other: float(np.abs(real[other] - seen_color).sum())) == name
    sheet = np.asarray(Image.open(tmp_path / "previews" / "00000150.png"))
    assert sheet.shape == (16 + 3 * 4 * 32, 4 * 32, 3)  # rows: four faces of each; columns: real, and as each


def test_a_run_of_three_goes_on_with_the_same_three(
    source: Crops, target: Crops, anna: Crops, options: Make, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path / "unbroken", options(), silent, None, {"anna": anna})
    train_crops(source, target, tmp_path / "run", options(iterations=5), silent, None, {"anna": anna})
    with pytest.raises(RunError, match="begun with source, target, anna, now source, target"):
        train_crops(source, target, tmp_path / "run", options(), silent)
    with pytest.raises(RunError, match="another anna faceset"):
        train_crops(source, target, tmp_path / "run", options(), silent, None, {"anna": people(4)})
    train_crops(source, target, tmp_path / "run", options(), silent, None, {"anna": anna})
    record = json.dumps(sorted(TrainedNetwork.open(tmp_path / "run", "cpu").origins))
    assert record == json.dumps(["anna", "source", "target"])
    with pytest.raises(RunError, match="does not know 'bert'; --person can be source, target, anna"):
        TrainedNetwork.open(tmp_path / "run", "cpu").origin("bert")


@pytest.mark.parametrize("name", ["source", "target", "shared", "", "a b", "../x"])
def test_names_that_name_nobody_are_refused(
    name: str, source: Crops, target: Crops, anna: Crops, options: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="cannot name a person"):
        train_crops(source, target, tmp_path, options(), silent, None, {name: anna})


def test_everybody_is_in_every_batch(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    assert [faces_each(batch, count) for batch, count in ((8, 2), (2, 2), (6, 3), (7, 3))] == [
        (5, 3), (1, 1), (2, 2, 2), (3, 2, 2),
    ]  # fmt: skip
    others = {f"p{i}": people(i) for i in range(3, 6)}
    with pytest.raises(ConfigError, match="a batch of 4 has no face of each of 5 people"):
        train_crops(source, target, tmp_path, options(batch=4), silent, None, others)
