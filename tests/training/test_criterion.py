"""All losses together in a trainer: each has its effect, and discriminators are part of a training's state."""

from collections.abc import Callable, Mapping

import pytest
import torch
from visagist.training.losses.adversarial import patch_kernels, receptive_field

from tests.models.test_models import SMALL
from tests.training.conftest import people, small_options
from visagist.core.device import choose
from visagist.core.errors import ConfigError, RunError
from visagist.models import ARCHITECTURES, create
from visagist.training import Crops
from visagist.training.data.crops import Side
from visagist.training.memory import estimate_memory
from visagist.training.trainer import Trainer

CPU = choose("cpu")
Start = Callable[..., Trainer]
LATE = {"face_style": 1.0, "background_style": 1.0, "gan": 0.05, "true_face": 0.01}
BASE = {"loss", "dssim", "absolute", "edges", "mask"}


@pytest.fixture(scope="module")
def start(source: Crops, target: Crops) -> Start:
    known = {"source": source, "target": target, "anna": people(3)}

    def make(losses: Mapping[str, object], names: tuple[str, ...] = ("source", "target"), **changes: object) -> Trainer:
        sides = {name: Side(known[name], 0.2, CPU.device) for name in names}
        return Trainer(sides, small_options(losses=losses, **changes), 12, CPU)

    return make


def weights(trainer: Trainer, part: str) -> torch.Tensor:
    found = [weight.detach().flatten() for name, weight in trainer.weights.items() if name.startswith(part)]
    return torch.cat(found).clone()


@pytest.mark.parametrize("name", ["squared", "focal_frequency", *LATE])
def test_each_loss_is_part_of_the_sum_and_changes_what_is_learnt(start: Start, name: str) -> None:
    plain, other = start({}), start({name: 1.0, "finish": 1.0})
    for iteration in range(2):
        plain.step(iteration)
        loss = other.step(iteration)
        parts = {key: part.item() for key, part in other.losses.items()}
        assert set(parts) == {*BASE, name}
        assert parts.pop("loss") == pytest.approx(loss) == pytest.approx(sum(parts.values()), rel=1e-5)
    changed = {part: not torch.equal(weights(plain, part), weights(other, part)) for part in ("encoder", "decoders.0")}
    assert changed == {"encoder": True, "decoders.0": True}


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_what_the_swap_should_look_like_is_learnt_by_what_draws_alone(model: str) -> None:
    """The inters of liae and amp, through which the target's looks would pass, learnt it as well."""
    size = SMALL[model]["size"]
    assert isinstance(size, int)
    sides = {name: Side(people(seed, 8, size), 0.2, CPU.device) for name, seed in (("source", 1), ("target", 2))}
    gradients: list[dict[str, torch.Tensor]] = []
    for losses in ({}, {"face_style": 100.0, "finish": 1.0}):
        trainer = Trainer(sides, small_options(model=model, settings=SMALL[model], losses=losses), 12, CPU)
        seen, truth = trainer.batch(0)
        drawn = trainer.draw(seen, trainer.counts, 0, torch.Generator().manual_seed(0))
        torch.stack(list(trainer.objective.parts(drawn, truth, (), 0.0).values())).sum().backward()
        gradients.append({name: weight.grad for name, weight in trainer.weights.items() if weight.grad is not None})
    plain, other = gradients
    assert set(plain) == set(other)
    taught = {name.split(".")[0] for name in plain if not torch.allclose(plain[name], other[name], atol=1e-6)}
    drawing = {"liae": {"decoder"}, "amp": {"decoder"}, "visage": {"decoder", "bends"}}
    assert taught == drawing.get(model, {"decoders"})


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_drawing_for_the_swap_draws_the_same(model: str) -> None:
    network = create(model, ("ann", "bob", "cat"), **SMALL[model])
    latent = network.encode(torch.rand(2, 3, network.size, network.size))
    for name in network.identities:
        for one, other in zip(network.decode(latent, name), network.decode_for_swap(latent, name), strict=True):
            assert torch.equal(one, other)


def test_losses_for_the_end_act_at_the_end(start: Start) -> None:
    trainer = start({**LATE, "finish": 0.25})
    seen = {}
    for iteration in (0, 8, 9, 11):  # of 12
        trainer.step(iteration)
        seen[iteration] = set(trainer.losses) - BASE
    assert seen == {0: set(), 8: set(), 9: set(LATE), 11: set(LATE)}


def test_face_style_learns_from_what_was_drawn_when_it_began(start: Start) -> None:
    trainer = start({"face_style": 1.0, "finish": 0.5})

    def known(iteration: int) -> torch.Tensor | None:
        return trainer.draw(seen, trainer.counts, iteration, torch.Generator()).known

    for iteration in range(6):  # of 12
        trainer.step(iteration)
    seen, _ = trainer.batch(6)
    assert known(5) is None
    expected, _ = trainer.predict(seen.split(trainer.counts)[1], "source")
    trainer.step(6)
    kept = {name: tensor.clone() for name, tensor in trainer.tensors().items()}
    for iteration in (7, 8):
        trainer.step(iteration)
    assert not torch.equal(trainer.predict(seen.split(trainer.counts)[1], "source")[0], expected)
    found = known(9)
    assert found is not None
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
    other = start({"face_style": 1.0, "finish": 0.5})
    other.restore(kept)
    for iteration in (7, 8):
        other.step(iteration)
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in trainer.tensors().items())
    trainer.iterations = 24  # trained on: this is its middle
    assert known(9) is None
    assert not trainer.known


def test_what_discriminators_have_learnt_is_restored(start: Start) -> None:
    losses = {**LATE, "finish": 1.0}
    unbroken, other = start(losses, optimizer={"accumulate": 2}, batch=8), start(losses, batch=8)
    unbroken.step(0)
    kept = {name: tensor.clone() for name, tensor in unbroken.tensors().items()}
    unbroken.step(1)
    other = start(losses, optimizer={"accumulate": 2}, batch=8)
    other.restore(kept)
    other.step(1)
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in unbroken.tensors().items())
    assert not torch.equal(kept["gan/state/judge_pixels.bias"], unbroken.tensors()["gan/state/judge_pixels.bias"])
    with pytest.raises(RunError, match="PatchDiscriminator"):
        other.restore({name: tensor for name, tensor in kept.items() if not name.startswith("gan/")})


@pytest.mark.parametrize(("name", "value"), [("gan_smoothing", 0.4), ("gan_noise", 0.45)])
def test_labels_of_the_discriminator_are_as_asked_for(start: Start, name: str, value: float) -> None:
    losses = {"gan": 1.0, "gan_dims": 4, "finish": 1.0}
    plain, other = start(losses), start({**losses, name: value})
    for trainer in (plain, other):
        trainer.step(0)
    ours, theirs = plain.tensors(), other.tensors()
    assert all(torch.equal(ours[f"weight/{key}"], theirs[f"weight/{key}"]) for key in plain.weights)
    taught = [key for key in ours if key.startswith("gan/exp_avg/")]
    assert taught
    assert not any(torch.equal(ours[key], theirs[key]) for key in taught)


def test_the_discriminator_has_the_channels_and_the_patch_asked_for(start: Start) -> None:
    trainer = start({"gan": 1.0, "gan_dims": 6, "gan_patch": 11, "finish": 1.0})
    trainer.step(0)
    found = [tensor.shape for key, tensor in trainer.tensors().items() if key.startswith("gan/exp_avg/down")]
    kernels = patch_kernels(11)
    assert {shape[0] for shape in found} == {6 * 2, 6 * 4}
    assert [shape[-1] for shape in found if len(shape) == 4] == list(kernels)
    assert receptive_field(kernels) == 11


def test_the_target_is_drawn_in_turn_as_everybody_else(start: Start) -> None:
    trainer = start({"face_style": 1.0, "finish": 1.0}, ("source", "target", "anna"), batch=6)
    assert [trainer.objective.appears(iteration) for iteration in range(4)] == ["source", "anna", "source", "anna"]
    before = weights(trainer, "decoders.2")
    trainer.step(1)
    assert not torch.equal(before, weights(trainer, "decoders.2"))


def test_identity_pulls_the_swap_and_needs_embeddings(start: Start, source: Crops) -> None:
    trainer = start({"identity": 1.0})
    trainer.step(0)
    assert 0 < trainer.losses["identity"].item() < 2
    assert torch.isfinite(trainer.losses["loss"])
    nameless = Side(Crops(source.images, source.hulls), 0.2, CPU.device)
    with pytest.raises(ConfigError, match="needs embeddings of source"):
        Trainer({"source": nameless, "target": nameless}, small_options(losses={"identity": 0.1}), 12, CPU)


def test_memory_of_a_training_with_all_losses_is_estimated() -> None:
    plain = estimate_memory(small_options(), ("source", "target"), CPU, 48)
    all_losses = {**LATE, "identity": 0.01}  # most of them act at the end, and count all the same
    full = estimate_memory(small_options(losses=all_losses), ("source", "target"), CPU, 48)
    assert full.step > 2 * plain.step
