"""What holds of `quick` in a training holds of networks that draw at random, or have other weights of each person."""

from pathlib import Path

import pytest
import torch

from tests.models.test_models import SMALL
from tests.training.conftest import people, small_options
from visagist.core.device import choose
from visagist.core.events import silent
from visagist.models.bundle import TrainedNetwork
from visagist.training import TrainOptions, train_crops
from visagist.training.data.crops import Side
from visagist.training.trainer import Trainer

CPU = choose("cpu")
MODELS = ["amp", "liae", "visage"]
NAMES = ("source", "target", "anna")


def asked(model: str, **changes: object) -> TrainOptions:
    return small_options(model=model, settings={**SMALL[model], "size": 64}, **changes)


@pytest.mark.parametrize("model", MODELS)
def test_a_training_restored_goes_on_exactly(model: str) -> None:
    losses = {"gan": 0.05, "gan_dims": 4, "gan_noise": 0.3, "true_face": 0.01, "finish": 1.0}
    unbroken, other = (
        Trainer(
            {name: Side(people(i, 10, 64), 0.2, CPU.device) for i, name in enumerate(NAMES[:2])},
            asked(model, losses=losses, optimizer={"lr_dropout": 0.3, "accumulate": 2}, batch=6),
            12,
            CPU,
        )
        for _ in range(2)
    )
    unbroken.step(0)
    kept = {name: tensor.clone() for name, tensor in unbroken.tensors().items()}
    unbroken.step(1)
    other.step(5)  # what it did before must not matter
    other.restore(kept)
    other.step(1)
    ours, theirs = unbroken.tensors(), other.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("model", MODELS)
def test_three_people_are_trained_gone_on_with_and_drawn(model: str, tmp_path: Path) -> None:
    source, target, anna = (people(i, 10, 64) for i in range(3))
    plan = {"batch": 6, "save_every": 2, "preview_every": 2}
    for iterations, begun in ((2, 0), (3, 2)):
        options = asked(model, iterations=iterations, **plan)
        summary = train_crops(source, target, tmp_path, options, silent, None, {"anna": anna})
        assert (summary.resumed_at, summary.iterations) == (begun, iterations)
        assert {f"ssim_{name}" for name in NAMES} <= set(summary.figures)
    run = TrainedNetwork.open(tmp_path, "cpu")
    assert run.identities == NAMES
    faces = torch.from_numpy(target.images[:2, 8:72, 8:72]).permute(0, 3, 1, 2).float() / 255
    drawn = [run.predict(faces, name)[0] for name in NAMES]
    assert not any(torch.equal(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
