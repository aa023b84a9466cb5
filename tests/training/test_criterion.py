"""The criterion: weights of the losses, when they act, and which weights they train."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.models.test_models import SMALL
from tests.training.conftest import blob_crops, small_options
from tests.training.trainers import EVERY_LOSS, FINISHING, FLOAT32, new_trainer, only
from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES, create
from visagist.training.data import IdentityDataset
from visagist.training.losses.discriminators import patch_kernels
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer

BASE = {"dssim", "absolute", "edges", "mask"}
LATE = {"face_style": 1.0, "background_style": 1.0, "gan": 0.05, "gan_dims": 4, "true_face": 0.01}


def losses(trainer: Trainer) -> dict[str, Tensor]:
    """Of one batch, with the weights as they are."""
    seen, truth = trainer.batch(0)
    trainer.before = trainer.average
    outputs = trainer.predict_part(seen, truth, trainer.counts, 0, torch.Generator())
    return trainer.criterion(outputs, is_finishing=True)


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_a_weight_scales_its_loss_and_no_other(name: str) -> None:
    none, once, thrice = (
        losses(new_trainer(small_options(losses={"squared": 1.0, "gan_dims": 4, name: weight}), FINISHING))
        for weight in (0.0, 0.1, 0.3)
    )
    assert name not in none
    torch.testing.assert_close(thrice.pop(name), 3 * once.pop(name))
    torch.testing.assert_close(once, thrice, rtol=0, atol=0)
    torch.testing.assert_close(once, none, rtol=0, atol=0)


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_losses_of_the_swap_train_the_decoder_only(model: str) -> None:
    """Neither do they train the inters of liae and amp, which would pass on the target's appearance."""
    options = small_options(model=model, settings=SMALL[model])
    trainer = new_trainer(options.model_copy(update={"losses": only("background_style")}), FINISHING)
    losses(trainer)["background_style"].backward()
    taught = {name.split(".")[0] for name, weight in trainer.weights.items() if weight.grad is not None}
    assert taught == {"liae": {"decoder"}, "amp": {"decoder"}, "visage": {"decoder", "bends"}}.get(model, {"decoders"})


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_decoding_for_the_swap_predicts_the_same(model: str) -> None:
    network = create(model, ("ann", "bob", "cat"), **SMALL[model])
    latent = network.encode(torch.rand(2, 3, network.size, network.size))
    for name in network.identities:
        for one, other in zip(network.decode(latent, name), network.decode_for_swap(latent, name), strict=True):
            assert torch.equal(one, other)


def test_finishing_losses_act_during_the_cool_down() -> None:
    trainer = new_trainer(small_options(losses=LATE), Plan(warm_up=0, cool_down_start=9, total=12))
    found: dict[int, set[str]] = {}
    for iteration in (0, 8, 9, 11):
        trainer.step(iteration)
        found[iteration] = set(trainer.losses) - BASE
    late = {"face_style", "background_style", "gan", "true_face"}
    assert found == {0: set(), 8: set(), 9: late, 11: late}
    assert set(trainer.discriminator_losses) == {"gan", "true_face"}


def test_the_stability_check_uses_losses_that_always_act() -> None:
    trainer = new_trainer(small_options(losses={**LATE, "identity": 1.0, "squared": 1.0}), FINISHING)
    loss = trainer.step(0)
    always = [part.item() for name, part in trainer.losses.items() if name in {*BASE, "squared"}]
    assert len(always) == 5
    assert loss.item() == pytest.approx(sum(always), rel=1e-5)


def test_face_style_compares_with_the_average_at_the_beginning_of_the_cool_down() -> None:
    plan = Plan(warm_up=0, cool_down_start=3, total=12)
    trainer, other = (new_trainer(small_options(losses={"face_style": 1.0}), plan) for _ in range(2))
    for iteration in range(3):
        trainer.step(iteration)
        assert not trainer.before
    begun = {name: average.clone() for name, average in trainer.average.items()}
    trainer.step(3)
    kept = {name: tensor.clone() for name, tensor in trainer.tensors().items()}
    trainer.step(4)
    assert not all(torch.equal(average, begun[name]) for name, average in trainer.average.items())
    other.restore(kept)
    other.step(4)
    for each in (trainer, other):
        assert all(torch.equal(tensor, begun[name]) for name, tensor in each.before.items())
    other.restore({name: tensor for name, tensor in kept.items() if not name.startswith("before/")})
    assert not other.before  # of a checkpoint before the cool-down


@pytest.mark.parametrize(("name", "value"), [("gan_smoothing", 0.4), ("gan_noise", 0.45)])
def test_labels_change_what_the_discriminator_learns_and_nothing_else(name: str, value: float) -> None:
    plain, other = (
        new_trainer(small_options(losses={"gan": 1.0, "gan_dims": 4, **changes}), FINISHING)
        for changes in ({}, {name: value})
    )
    for trainer in (plain, other):
        trainer.step(0)
    ours, theirs = plain.tensors(), other.tensors()
    assert all(torch.equal(ours[f"weight/{key}"], theirs[f"weight/{key}"]) for key in plain.weights)
    taught = [key for key in ours if key.startswith("gan/exp_avg/")]
    assert taught
    assert not any(torch.equal(ours[key], theirs[key]) for key in taught)


def test_the_discriminator_has_the_channels_and_the_patch_asked_for() -> None:
    criterion = new_trainer(small_options(losses={"gan": 1.0, "gan_dims": 6, "gan_patch": 11})).criterion
    found = [layer.weight.shape for layer in criterion.adversaries["gan"].network.down]
    assert [shape[0] for shape in found] == [6 * 2, 6 * 4]
    assert tuple(shape[-1] for shape in found) == patch_kernels(11)


def test_unmasked_discriminators_see_the_whole_picture() -> None:
    """In masked training, pixels outside the hull must not distinguish predicted from real faces."""
    for masked in (True, False):
        trainer = new_trainer(small_options(losses={"gan": 1.0, "gan_dims": 4, "masked": masked}), FINISHING)
        trainer.criterion.adversaries["gan"].mean_squares.fill_(1)
        seen, truth = trainer.batch(0)
        outputs = trainer.predict_part(seen, truth, trainer.counts, 0, torch.Generator())
        rgb = outputs.rgb.detach().requires_grad_()
        loss = trainer.criterion(replace(outputs, rgb=rgb), is_finishing=True)["gan"]
        (gradient,) = torch.autograd.grad(loss, rgb)
        assert (gradient * truth[:, 3:4]).any()
        assert (gradient * (truth[:, 3:4] == 0)).any().item() is not masked


def test_the_target_is_predicted_as_each_other_identity_in_turn() -> None:
    trainer = new_trainer(small_options(losses={"face_style": 1.0}, batch=6), FINISHING, ("source", "target", "anna"))
    assert [trainer.criterion.swapped_to(iteration) for iteration in range(4)] == ["source", "anna"] * 2


def test_the_identity_loss_needs_embeddings_and_a_face() -> None:
    nameless = IdentityDataset(replace(blob_crops(1), centroid=()), 0.2, FLOAT32.device)
    datasets = {"source": nameless, "target": nameless}
    with pytest.raises(ConfigError, match="source"):
        Trainer(datasets, small_options(losses={"identity": 0.1}), FINISHING, FLOAT32)
    with pytest.raises(ConfigError, match="'mouth'"):
        new_trainer(small_options(losses={"identity": 0.1}, coverage="mouth"))


def test_a_patch_larger_than_a_face_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"33 .* 32 px"):
        new_trainer(small_options(losses={"gan": 0.1, "gan_patch": 33}))
