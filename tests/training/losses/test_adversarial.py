"""Discriminators: what they see, what they learn, and what both players minimise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from visagist.training.losses.adversarial import patch_kernels, receptive_field

from tests.training.losses.conftest import pictures
from visagist.core.device import choose
from visagist.core.errors import ConfigError, RunError
from visagist.training.losses import (
    Adversary,
    LatentDiscriminator,
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
)


def test_every_odd_patch_has_kernels_of_3_and_5_that_see_exactly_it() -> None:
    for patch in range(5, 640):
        kernels = patch_kernels(patch)
        assert set(kernels) <= {3, 5}
        assert receptive_field(kernels) == patch | 1
    with pytest.raises(ConfigError, match="give 5 or more"):
        patch_kernels(4)


@pytest.mark.parametrize("patch", [5, 9, 16, 31])
def test_a_judgement_of_a_patch_depends_on_exactly_that_patch(patch: int) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(patch, 4)
    faces = torch.rand(1, 3, 96, 96, requires_grad=True)
    judged, _ = network(faces)
    judged[0, 0, judged.shape[-2] // 2, judged.shape[-1] // 2].backward()
    assert faces.grad is not None
    seen = faces.grad.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    assert (rows.max() - rows.min() + 1).item() == patch | 1
    assert (columns.max() - columns.min() + 1).item() == patch | 1


@pytest.mark.parametrize(("size", "patch", "side"), [(64, 8, 16), (96, 31, 12), (100, 16, 13), (17, 7, 9)])
def test_judges_patches_and_every_pixel_at_any_size(size: int, patch: int, side: int) -> None:
    patches, pixels = PatchDiscriminator(patch, 8)(torch.rand(2, 3, size, size))
    assert patches.shape == (2, 1, side, side)
    assert pixels.shape == (2, 1, size, size)


def test_dims_are_the_channels_at_full_size() -> None:
    narrow, wide = (sum(p.numel() for p in PatchDiscriminator(16, dims).parameters()) for dims in (8, 16))
    assert 3 < wide / narrow < 4.1


def test_stays_channels_last_and_float32_under_autocast() -> None:
    network = PatchDiscriminator(16, 16).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    faces = torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        patches, pixels = network(faces)
    assert patches.dtype == pixels.dtype == torch.float32
    formats: list[bool] = []
    for layer in (*network.down, *network.up, *network.merge):
        layer.register_forward_hook(
            lambda _, x, y: formats.extend(t.is_contiguous(memory_format=torch.channels_last) for t in (*x, y))
        )
    network(faces)
    assert formats
    assert all(formats)


def test_no_layer_enlarges_a_difference_by_more_than_its_factor() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(16, 8)
    for _ in range(30):  # power iterations
        network(torch.rand(1, 3, 32, 32))
    network.eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert np.linalg.norm(layer.weight.detach().flatten(1).numpy(), 2) < 1.1  # power iterations come from below


def test_learns_what_gives_drawn_faces_away_and_teaches_it() -> None:
    """Real ones have a fine grain that the drawn ones lack; a picture that learns from the discriminator grows one."""
    torch.manual_seed(0)
    network = PatchDiscriminator(5, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.5, 0.9))
    generator = torch.Generator().manual_seed(0)
    drawn, real = pictures(24)
    for _ in range(25):
        optimizer.zero_grad()
        discriminator_loss(network(real), network(drawn), (2, 2), 0.1, 0.0, generator).backward()
        optimizer.step()
    network.eval()
    for of_real, of_drawn in zip(network(real), network(drawn), strict=True):
        assert (of_real > of_drawn).float().mean().item() > 0.7
    picture = drawn.clone().requires_grad_()
    loss = generator_loss(network(picture), 2)
    (slope,) = torch.autograd.grad(loss, picture)
    improved = picture.detach() - 0.02 * slope.sign()
    assert generator_loss(network(improved), 2).item() < loss.item()
    grain = [(p - F.avg_pool2d(p, 3, 1, 1)).square().mean().item() for p in (drawn, improved)]
    assert grain[1] > grain[0]


def test_learns_what_is_fine_in_pictures_that_are_all_different() -> None:
    """As it is used: a grain of a fiftieth. It knew nothing of that after hundreds of steps (1.376)."""
    torch.manual_seed(0)
    opponent, generator = Adversary(PatchDiscriminator(9, 8), choose("cpu")), torch.Generator().manual_seed(0)
    for _ in range(60):
        smooth = F.interpolate(torch.rand(4, 3, 4, 4, generator=generator), size=24, mode="bicubic").clamp(0, 1)
        real = (smooth + 0.02 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
        loss = opponent.learn([(real, smooth)], 0.1, 0.0, generator).item()
    assert loss < 1.0


def test_noise_keeps_its_strength_through_a_discriminator_at_the_start() -> None:
    torch.manual_seed(0)
    patches, pixels = PatchDiscriminator(16, 16).eval()(torch.rand(4, 3, 64, 64))
    for logits in (patches, pixels):
        assert 0.1 < logits.std().item() < 10


def adversary() -> Adversary:
    torch.manual_seed(0)
    return Adversary(PatchDiscriminator(5, 4), choose("cpu"))


def learnt(opponent: Adversary, times: int) -> list[float]:
    drawn, real = pictures(24)
    return [opponent.learn([(real, drawn)], 0.1, 0.2, torch.Generator().manual_seed(i)).item() for i in range(times)]


def test_to_deceive_changes_nothing_in_the_discriminator_and_to_learn_nothing_in_the_face() -> None:
    opponent, (drawn, real) = adversary(), pictures(24)
    drawn.requires_grad_()
    before = {name: tensor.clone() for name, tensor in opponent.tensors().items()}
    opponent.deceive(drawn, 2).backward()
    assert drawn.grad is not None
    assert drawn.grad.abs().sum().item() > 0
    assert all(weight.grad is None for weight in opponent.network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in opponent.tensors().items())
    pulled = drawn.grad.clone()
    assert not opponent.learn([(real, drawn)], 0.1, 0.0, torch.Generator()).requires_grad
    assert torch.equal(drawn.grad, pulled)
    assert not all(torch.equal(tensor, opponent.tensors()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
def test_it_pulls_as_strongly_as_asked_for_however_strong_it_is_itself(strength: float) -> None:
    opponent, (drawn, pattern) = adversary(), pictures(24)

    def pull() -> Tensor:
        """Its own on a face, of which another loss sees `pattern`."""
        face = drawn.clone().requires_grad_()
        (others,) = torch.autograd.grad((pattern * opponent.measured(face)).sum(), face)
        assert torch.equal(others, pattern)
        return torch.autograd.grad(strength * opponent.deceive(opponent.weighed(face, 0.3), 2), face)[0]

    assert pull().abs().max().item() == 0  # before anything has been measured
    opponent.measure_pulls()
    found = pull()
    torch.testing.assert_close(found.norm(), 0.3 * pattern.norm(), rtol=1e-3, atol=0)
    for _ in range(60):
        opponent.measure_pulls()  # nothing is felt any more: both means fall alike
    torch.testing.assert_close(pull(), found, rtol=1e-3, atol=0)


def test_a_discriminator_goes_on_to_the_last_bit_where_it_was_saved() -> None:
    opponent = adversary()
    learnt(opponent, 3)
    kept = {name: tensor.clone() for name, tensor in opponent.tensors().items()}
    expected = learnt(opponent, 3)
    other = Adversary(PatchDiscriminator(5, 4), choose("cpu"))
    other.restore(kept)
    assert learnt(other, 3) == expected
    other.restore(kept)  # the moments taken over are copies
    assert learnt(other, 3) == expected
    with pytest.raises(RunError, match="PatchDiscriminator is not as it is here"):
        Adversary(PatchDiscriminator(5, 8), choose("cpu")).restore(kept)


@pytest.mark.parametrize("shape", [(32,), (8, 8, 8), (6, 5, 5), (4, 1, 1)])
def test_latents_of_any_shape_are_told_apart(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = LatentDiscriminator(shape, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, 6, *shape, generator=generator)
    target = target + 1
    for _ in range(40):
        optimizer.zero_grad()
        discriminator_loss(network(source), network(target), (6, 6), 0.0, 0.0, generator).backward()
        optimizer.step()
    assert network(source)[0].mean().item() > network(target)[0].mean().item() + 0.5
    latent = target.clone().requires_grad_()
    generator_loss(network(latent), 6).backward()
    assert latent.grad is not None
    assert (latent.grad.mean() > 0).item()  # the way back is down


def cross_entropy(logits: np.ndarray, label: float) -> float:
    chance = 1 / (1 + np.exp(-logits))
    return float(-(label * np.log(chance) + (1 - label) * np.log(1 - chance)).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_the_discriminator_minimises_cross_entropy_with_real_labels_smoothed(
    smoothing: float, rng: np.random.Generator
) -> None:
    real = [rng.normal(size=(3, 1, 4, 4)), rng.normal(size=(3, 1, 8, 8))]
    fake = [rng.normal(size=(2, 1, 4, 4)), rng.normal(size=(2, 1, 8, 8))]  # of true face: other counts
    expected = sum(cross_entropy(logits, 1 - smoothing) for logits in real) / 2
    expected += sum(cross_entropy(logits, 0) for logits in fake) / 2

    def maps(arrays: list[np.ndarray]) -> list[Tensor]:
        return [torch.from_numpy(array).float() for array in arrays]

    ours = discriminator_loss(maps(real), maps(fake), (3, 2), smoothing, 0.0, torch.Generator())
    assert ours.item() == pytest.approx(expected, rel=1e-5)
    teaching = generator_loss(maps(fake), 2).item()
    assert teaching == pytest.approx(sum(cross_entropy(logits, 1) for logits in fake) / 2, rel=1e-5)


def test_smoothing_holds_back_a_discriminator_that_is_too_sure() -> None:
    sure, right = (torch.full((1, 1, 2, 2), 10.0),), (torch.full((1, 1, 2, 2), math.log(0.9 / 0.1)),)
    fake = (torch.full((1, 1, 2, 2), -10.0),)
    generator = torch.Generator()
    hard = [discriminator_loss(real, fake, (1, 1), 0.0, 0.0, generator).item() for real in (sure, right)]
    soft = [discriminator_loss(real, fake, (1, 1), 0.1, 0.0, generator).item() for real in (sure, right)]
    assert hard[0] < hard[1]
    assert soft[0] > soft[1]


def test_noise_gives_some_faces_the_wrong_label_by_the_generator_alone() -> None:
    count = 400
    real, fake = (torch.full((count, 1, 1, 1), 4.0),), (torch.full((count, 1, 1, 1), -4.0),)
    losses = [
        discriminator_loss(real, fake, (count, count), 0.0, noise, torch.Generator().manual_seed(seed)).item()
        for noise, seed in ((0.0, 1), (0.25, 1), (0.25, 1), (0.25, 2))
    ]
    wrong, right = cross_entropy(np.array(4.0), 0), cross_entropy(np.array(4.0), 1)
    assert losses[0] == pytest.approx(2 * right, rel=1e-4)
    assert losses[1] == pytest.approx(2 * (0.25 * wrong + 0.75 * right), rel=0.2)
    assert losses[1] == losses[2] != losses[3]


def test_the_swapper_still_learns_from_a_discriminator_that_is_sure() -> None:
    logits = torch.full((1, 1, 1, 1), -20.0, requires_grad=True)
    generator_loss((logits,), 1).backward()
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(-1)
