"""Discriminators: receptive fields, layouts, spectral norms, and learning."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.losses.conftest import pictures
from visagist.core.errors import ConfigError
from visagist.training.losses.adversary import discriminator_loss, generator_loss
from visagist.training.losses.discriminators import LatentDiscriminator, PatchDiscriminator, patch_kernels


def test_kernels_have_the_receptive_field_of_every_odd_patch() -> None:
    for patch in range(5, 640):
        kernels = patch_kernels(patch)
        assert set(kernels) <= {3, 5}
        assert 3 + sum((kernel - 1) * 2**level for level, kernel in enumerate(kernels)) == patch | 1
    with pytest.raises(ConfigError, match="patch of 4 px"):
        patch_kernels(4)


@pytest.mark.parametrize("patch", [5, 9, 16, 31])
def test_a_logit_depends_on_exactly_its_patch(patch: int) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(patch, 4)
    faces = torch.rand(1, 3, 96, 96, requires_grad=True)
    judged, _ = network(faces)
    (gradient,) = torch.autograd.grad(judged[0, 0, judged.shape[-2] // 2, judged.shape[-1] // 2], faces)
    seen = gradient.abs().sum((0, 1)) > 0
    for places in (seen.any(1).nonzero(), seen.any(0).nonzero()):
        assert (places.max() - places.min() + 1).item() == patch | 1


@pytest.mark.parametrize(("size", "patch", "side"), [(64, 8, 16), (96, 31, 12), (100, 16, 13), (17, 7, 9)])
def test_has_logits_of_patches_and_pixels_at_any_size(size: int, patch: int, side: int) -> None:
    patches, pixels = PatchDiscriminator(patch, 8)(torch.rand(2, 3, size, size))
    assert patches.shape == (2, 1, side, side)
    assert pixels.shape == (2, 1, size, size)


def test_stays_channels_last_and_float32_under_autocast() -> None:
    network = PatchDiscriminator(16, 16).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    faces = torch.rand(2, 3, 64, 64).to(memory_format=torch.channels_last)
    formats: list[bool] = []
    for layer in (*network.down, *network.up, *network.merge):
        layer.register_forward_hook(
            lambda _, x, y: formats.extend(t.is_contiguous(memory_format=torch.channels_last) for t in (*x, y))
        )
    with torch.autocast("cpu", torch.bfloat16):
        patches, pixels = network(faces)
    assert patches.dtype == pixels.dtype == torch.float32
    assert formats
    assert all(formats)


def test_layers_are_bounded_and_noise_keeps_its_strength() -> None:
    """No layer enlarges a difference by more than its factor, and none lets the signal die."""
    torch.manual_seed(0)
    network = PatchDiscriminator(16, 16)
    for logits in network.eval()(torch.rand(4, 3, 64, 64)):
        assert 0.1 < logits.std().item() < 10
    network.train()
    for _ in range(30):  # power iterations
        network(torch.rand(1, 3, 32, 32))
    network.eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            assert np.linalg.norm(layer.weight.detach().flatten(1).numpy(), 2) < 1.1  # power iterations come from below


def grain(pictures: Tensor) -> float:
    return (pictures - F.avg_pool2d(pictures, 3, 1, 1)).square().mean().item()


def latents(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    fake, real = torch.randn(2, 6, *shape, generator=torch.Generator().manual_seed(0))
    return fake, real + 1


@pytest.mark.parametrize(
    ("make", "fake", "real", "trait"),
    [
        (lambda: PatchDiscriminator(5, 8), *pictures(24), grain),
        *(
            (lambda shape=shape: LatentDiscriminator(shape, 8), *latents(shape), lambda latent: latent.mean().item())
            for shape in ((32,), (6, 5, 5), (4, 1, 1))
        ),
    ],
    ids=["pictures", "32", "6x5x5", "4x1x1"],
)
def test_learns_a_difference_and_its_gradient_reduces_it(
    make: Callable[[], nn.Module], fake: Tensor, real: Tensor, trait: Callable[[Tensor], float]
) -> None:
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, betas=(0.5, 0.9))
    for _ in range(30):
        optimizer.zero_grad()
        of_real, of_fake = discriminator_loss(network(real), network(fake), 0.1, 0.0, torch.Generator())
        (of_real.mean() + of_fake.mean()).backward()
        optimizer.step()
    network.eval()
    for each_real, each_fake in zip(network(real), network(fake), strict=True):
        assert (each_real.mean() > each_fake.mean() + 0.5).item()
    taught = fake.clone().requires_grad_()
    loss = generator_loss(network(taught)).sum()
    improved = fake - 0.02 * torch.autograd.grad(loss, taught)[0].sign()
    assert generator_loss(network(improved)).sum() < loss
    assert trait(real) > trait(improved) > trait(fake)
