"""One training in memory: the result of an iteration, exact resume, and batches in parts."""

import math
from pathlib import Path

import pytest
import torch

from tests.models.test_models import SMALL
from tests.training.conftest import blob_crops, small_options
from tests.training.trainers import (
    EVERY_LOSS,
    FINISHING,
    FLOAT32,
    assert_same_gradients,
    assert_same_state,
    gradients,
    learning_from,
    new_trainer,
)
from visagist.core.device import Compute
from visagist.core.errors import ConfigError, RunError
from visagist.core.tensors import load_tensors, save_tensors
from visagist.models.bundle import TrainedNetwork
from visagist.models.quick import Quick
from visagist.training import train_crops
from visagist.training.losses.edges import edge_difference
from visagist.training.losses.pixels import face_mean
from visagist.training.losses.ssim import multiscale_dssim
from visagist.training.memory import estimate_memory
from visagist.training.optimizers import DEFAULT_BETAS
from visagist.training.schedule import Plan

NAMES = ("source", "target", "anna")


def test_an_iteration_is_torchs_adamw_on_the_weighted_losses() -> None:
    """The default losses, warm-up, clipping and average, written out."""
    plan = Plan(warm_up=2, cool_down_start=4, total=8)
    ours, theirs = (new_trainer(small_options(), plan) for _ in range(2))
    optimizer = torch.optim.AdamW(theirs.weights.values(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for iteration, factor in enumerate((0.5, 1, 1, 1, 1, 1 - math.sqrt(0.25))):
        loss = ours.step(iteration)
        optimizer.param_groups[0]["lr"] = 1e-3 * factor
        seen, truth = theirs.batch(iteration)
        latents = theirs.network.encode(seen).split(theirs.counts)
        decoded = [theirs.network.decode(latent, name) for latent, name in zip(latents, NAMES, strict=False)]
        rgb, mask = (torch.cat(planes) for planes in zip(*decoded, strict=True))
        truth, hull, importance = truth.split((3, 1, 1), 1)
        weights = 0.05 + hull * (1 + 8 * importance)
        faces = multiscale_dssim(rgb, truth, weights) + face_mean((rgb - truth).abs(), weights)
        faces = faces + edge_difference(rgb, truth, weights) + 0.5 * (mask - hull).square().mean((1, 2, 3))
        faces.mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if iteration % 4 == 0:
            decay = min(0.95, (1 + iteration // 4) / (10 + iteration // 4))
            with torch.no_grad():
                for name, weight in theirs.weights.items():
                    theirs.average[name].lerp_(weight, 1 - decay)
        assert loss == pytest.approx(faces.mean().item(), rel=1e-5)
    for name, weight in ours.weights.items():
        torch.testing.assert_close(weight, theirs.weights[name], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(ours.average[name], theirs.average[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [*(("quick", name) for name in DEFAULT_BETAS), *((name, "adamw") for name in ("amp", "liae", "visage"))],
)
def test_a_restored_training_continues_exactly(model: str, optimizer: str, tmp_path: Path) -> None:
    """With everything that is stateful or random, through a checkpoint file."""
    options = small_options(
        model=model,
        settings=SMALL[model],
        batch=6,
        optimizer={"name": optimizer, "lr_dropout": 0.5, "weight_decay": 0.01, "accumulate": 2, "clip": 0.5},
        losses={"face_style": 1.0, "gan": 0.05, "gan_dims": 4, "gan_noise": 0.3, "true_face": 0.01},
    )
    unbroken, other = (new_trainer(options, FINISHING) for _ in range(2))
    for iteration in range(2):
        unbroken.step(iteration)
    save_tensors(tmp_path / "state", unbroken.tensors(), {})
    other.step(5)  # earlier steps must not matter
    kept = load_tensors(tmp_path / "state")
    other.restore(kept)
    for iteration in range(2, 4):
        assert unbroken.step(iteration) == other.step(iteration)
    assert_same_state(unbroken, other)
    assert not torch.equal(kept["gan/state/judge_pixels.bias"], other.tensors()["gan/state/judge_pixels.bias"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": {"name": "lion"}}, "lion"),
        ({"settings": {**SMALL["quick"], "latent": 24}}, "quick"),
        ({"losses": {"gan": 0.1, "gan_dims": 4}}, "PatchDiscriminator"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(changes: dict[str, object], message: str) -> None:
    trainer = new_trainer(small_options())
    trainer.step(0)
    with pytest.raises(RunError, match=message):
        new_trainer(small_options(**changes)).restore(trainer.tensors())


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_parts_of_a_batch_have_the_gradients_of_the_whole(name: str) -> None:
    whole, cut = learning_from(name, parts=1), learning_from(name, parts=3)
    assert_same_gradients(gradients(whole), gradients(cut), name)
    assert whole.losses.keys() == cut.losses.keys() == {name}
    torch.testing.assert_close(whole.losses, cut.losses, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(whole.discriminator_losses, cut.discriminator_losses, rtol=1e-4, atol=1e-6)


def test_more_parts_than_faces_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"5 \+ 3 faces .* 4 parts"):
        new_trainer(small_options(batch=8, optimizer={"accumulate": 4}))


def test_the_learning_rate_suits_the_optimizer_unless_given() -> None:
    assert new_trainer(small_options(optimizer={"name": "lion"})).rate == new_trainer(small_options()).rate / 10
    assert new_trainer(small_options(optimizer={"name": "lion"}, learning_rate=1e-3)).rate == 1e-3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_noticed(value: float) -> None:
    trainer = new_trainer(small_options(losses={"gan": 0.1, "gan_dims": 4}), FINISHING)
    assert math.isfinite(trainer.step(0))
    next(iter(trainer.criterion.adversaries["gan"].weights.values())).data.fill_(value)
    assert math.isnan(trainer.step(1))


@pytest.mark.parametrize(("model", "dtype"), [*((name, None) for name in sorted(SMALL)), ("df", torch.bfloat16)])
def test_recomputed_blocks_give_the_same_weights(model: str, dtype: torch.dtype | None) -> None:
    """Bit by bit: the same operations on the same numbers; amp draws its random numbers only once."""
    plain, recomputed = (
        new_trainer(
            small_options(model=model, settings=SMALL[model], checkpointing=on),
            compute=Compute(FLOAT32.device, dtype, torch.channels_last),
        )
        for on in (False, True)
    )
    for iteration in range(2):
        plain.step(iteration)
        recomputed.step(iteration)
    assert_same_state(plain, recomputed)


def test_recomputed_blocks_take_less_memory() -> None:
    settings = {"size": 128, "latent": 16, "encoder": 16, "decoder": 16, "mask": 8}
    plain, recomputed = (
        estimate_memory(small_options(model="df", settings=settings, batch=64, checkpointing=on), NAMES[:2], FLOAT32, 0)
        for on in (False, True)
    )
    assert recomputed < 0.75 * plain


def test_a_network_without_blocks_to_recompute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "checkpoint_blocks", ())
    with pytest.raises(ConfigError, match="--checkpointing"):
        new_trainer(small_options(checkpointing=True))


@pytest.mark.parametrize("model", ["amp", "liae", "visage"])
def test_a_network_of_three_identities_is_trained_and_predicts_each(model: str, tmp_path: Path) -> None:
    size = SMALL[model]["size"]
    assert isinstance(size, int)
    crops = {name: blob_crops(i, 10, size) for i, name in enumerate(NAMES)}
    options = small_options(model=model, settings=SMALL[model], batch=6, iterations=2)
    run = train_crops(crops, tmp_path, options)
    assert {f"ssim_{name}" for name in NAMES} <= set(run.metrics)
    network = TrainedNetwork.open(run.path, "cpu")
    assert network.identities == NAMES
    faces = torch.rand(1, 3, size, size)
    predicted = [network.predict(faces, name)[0] for name in NAMES]
    assert not any(torch.equal(predicted[i], predicted[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
