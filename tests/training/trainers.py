"""Trainers in memory, and comparisons between two of them."""

from functools import cache

import torch
from torch import Tensor

from tests.models.test_models import SMALL
from tests.training.conftest import blob_crops, small_options
from visagist.core.device import Compute
from visagist.models import configure
from visagist.training import TrainOptions
from visagist.training.data import IdentityDataset
from visagist.training.losses import LOSSES, LossOptions
from visagist.training.losses.options import ADVERSARIAL
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer

FLOAT32 = Compute(torch.device("cpu"), None, torch.channels_last)
FINISHING = Plan(warm_up=0, cool_down_start=0, total=12)  # every loss acts from the start
EVERY_LOSS = (*LOSSES.names, *ADVERSARIAL)

dataset = cache(lambda seed, size: IdentityDataset(blob_crops(seed, size=size), 0.2, FLOAT32.device))


def new_trainer(
    options: TrainOptions,
    plan: Plan | None = None,
    identities: tuple[str, ...] = ("source", "target"),
    compute: Compute = FLOAT32,
) -> Trainer:
    """A trainer on crops of coloured blobs."""
    size = configure(options.model, options.settings).size
    datasets = {name: dataset(i + 1, size) for i, name in enumerate(identities)}
    return Trainer(datasets, options, plan or Plan.of(options.iterations or 12, options.schedule), compute)


def only(name: str) -> LossOptions:
    """A single loss, which validated options do not allow."""
    return LossOptions().model_copy(update=dict.fromkeys(LOSSES.names, 0.0) | {"gan_dims": 4, name: 1.0})


def learning_from(loss: str, parts: int, model: str = "quick") -> Trainer:
    """A trainer with one loss, no gradient clipping, and batches split into parts."""
    options = small_options(
        model=model,
        settings=SMALL[model],
        batch=12,
        optimizer={"clip": 0, "accumulate": parts},
        augmentation={"color_transfer": "rct", "color_transfer_chance": 0.5},
    )
    return new_trainer(options.model_copy(update={"losses": only(loss)}), FINISHING)


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """A tenth of the first iteration's gradients, from AdamW's state, and the mean squares of adversaries."""
    for adversary in trainer.criterion.adversaries.values():
        adversary.mean_squares.fill_(1)  # otherwise its weight is still 0
    trainer.step(0)
    found = {name: each for name, each in trainer.tensors().items() if "exp_avg/" in name or name.endswith("/pulls")}
    assert found
    return found


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor], loss: str) -> None:
    """Compare up to float32 rounding: 1e-5 relative, 1e-2 for gradients through SFace."""
    assert ours.keys() == theirs.keys()
    for part in {name.rpartition("exp_avg/")[0] for name in ours if "exp_avg/" in name}:  # the network, discriminators
        first, second = (
            torch.cat([each[name].flatten() for name in ours if name.startswith(f"{part}exp_avg/")])
            for each in (ours, theirs)
        )
        assert first.any()
        assert (first - second).norm() < (1e-2 if loss == "identity" else 1e-5) * first.norm()
    for name in ours:
        if name.endswith("/pulls"):
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=0)


def assert_same_state(ours: Trainer, theirs: Trainer) -> None:
    """Compare bit by bit."""
    first, second = ours.tensors(), theirs.tensors()
    assert first.keys() == second.keys()
    assert [name for name, tensor in first.items() if not torch.equal(tensor, second[name])] == []
