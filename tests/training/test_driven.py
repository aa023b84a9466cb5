"""Driven faces in training: the input shows the next identity, a source's ground truth an expression of the target."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import weights
from visagist.core.device import select_device
from visagist.core.errors import ConfigError
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.data import IdentityDataset
from visagist.training.data.driven import default_chance, random_expressions
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer

Make = Callable[..., TrainOptions]
UPPER_LIP, LOWER_LIP, MOUTH_CORNER = 13, 14, 61
STILL = {"rotate": 0, "scale": 0, "shift": 0, "warp": 0, "color": 0, "palette": 0}


@pytest.fixture(scope="module")
def faces(crops: dict[str, Crops]) -> dict[str, Crops]:
    """Crops of blobs, with landmarks on a grid."""
    line = np.linspace(0.2, 0.8, 22)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)[:478].astype(np.float32)
    return {name: replace(each, landmarks=np.repeat(grid[None], len(each.images), 0)) for name, each in crops.items()}


def batch(faces: dict[str, Crops], options: TrainOptions) -> tuple[torch.Tensor, torch.Tensor]:
    compute = select_device("cpu")
    datasets = {name: IdentityDataset(each, 0.2, compute.device) for name, each in faces.items()}
    return Trainer(datasets, options, Plan(warm_up=0, cool_down_start=9, total=12), compute).batch(0)


def test_the_input_shows_the_next_identity_and_the_truth_does_not(faces: dict[str, Crops], options: Make) -> None:
    _, truth = batch(faces, options(augmentation=STILL))
    seen, driven_truth = batch(faces, options(augmentation={**STILL, "driven": 1}))
    means = {name: torch.from_numpy(each.images / 255).float().mean((0, 1, 2)) for name, each in faces.items()}
    source = seen[: len(seen) // 2].mean((0, 2, 3))  # the rest is of the target
    assert (source - means["target"]).abs().sum() < (source - means["source"]).abs().sum()
    assert truth.shape == driven_truth.shape
    own = driven_truth[: len(seen) // 2, :3].mean((0, 2, 3))
    assert (own - means["source"]).abs().sum() < (own - means["target"]).abs().sum()


def test_the_source_takes_on_expressions_of_the_target_and_not_the_other_way(
    faces: dict[str, Crops], options: Make
) -> None:
    asked = options(augmentation={**STILL, "driven": 1})
    landmarks = faces["target"].landmarks
    assert landmarks is not None
    swaying = landmarks + np.where(np.arange(len(landmarks)) % 2, 0.08, -0.08).astype(np.float32)[:, None, None]
    _, still = batch(faces, asked)
    _, moved = batch({**faces, "target": replace(faces["target"], landmarks=swaying)}, asked)
    difference = (still - moved).abs().amax((1, 2, 3))
    assert (difference[:3] > 0.1).all()
    assert difference[3] == 0  # of the batch of four, one shows the target


def test_a_shut_mouth_takes_on_a_smile_and_stays_shut(faces: dict[str, Crops]) -> None:
    rest = torch.rand(1, 478, 2, generator=torch.Generator().manual_seed(0)).repeat(24, 1, 1)
    rest[:, UPPER_LIP] = rest[:, LOWER_LIP]
    talking = rest.clone()
    talking[::4, LOWER_LIP, 1] += 0.2  # speaks in a quarter of the frames, smiles in the others
    talking[torch.arange(24) % 4 > 0, MOUTH_CORNER] -= 0.1
    source, target = (
        IdentityDataset(replace(each, landmarks=landmarks.numpy()), 0.2, torch.device("cpu"))
        for each, landmarks in zip(faces.values(), (rest, talking), strict=True)
    )
    found = random_expressions(rest[:20], source, target, torch.Generator().manual_seed(1)) - rest[:20]
    strengths = found[:, MOUTH_CORNER, 0] / (-0.1 * 0.25)  # a smile is a quarter of it above the mean
    assert (strengths > 0).all()
    assert strengths.max() > 0.8
    assert (found[:, LOWER_LIP, 1] < 0).all()  # the mean mouth is open, these frames are shut


def test_half_of_the_faces_are_driven_unless_that_is_impossible(
    crops: dict[str, Crops], faces: dict[str, Crops]
) -> None:
    def chance(source: Crops, target: Crops) -> float:
        datasets = {id(each): IdentityDataset(each, 0.2, torch.device("cpu")) for each in (source, target)}
        return default_chance([datasets[id(source)], datasets[id(target)]])

    assert chance(*faces.values()) == 0.5
    assert chance(faces["source"], crops["target"]) == 0  # without landmarks
    assert chance(faces["source"], faces["source"]) == 0  # a pool


def test_a_driven_training_continues_exactly(faces: dict[str, Crops], options: Make, tmp_path: Path) -> None:
    asked = {"augmentation": {"driven": 0.5}, "iterations": 6, "schedule": {"cool_down": 0}}
    train_crops(faces, tmp_path / "whole", options(**asked))
    for length in (3, 6):
        train_crops(faces, tmp_path / "parts", options(**{**asked, "iterations": length}))
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


def test_faces_without_landmarks_cannot_be_driven(crops: dict[str, Crops], options: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"landmarks are unknown; leave --augmentation\.driven out"):
        train_crops(crops, tmp_path, options(augmentation={"driven": 0.5}))
