"""`amp`: mixtures of inters at merge and in training, and gradients of both inters."""

import pytest
import torch
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.models import create
from visagist.models.amp import Amp

TINY: dict[str, object] = {"size": 64, "latent": 8, "inter": 8, "encoder": 4, "decoder": 4, "mask": 2}


@pytest.fixture
def network() -> Amp:
    torch.manual_seed(0)
    made = create("amp", ("source", "target"), **TINY)
    assert isinstance(made, Amp)
    return made


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [48, 80, 672])
def test_sizes_that_make_no_network_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"size {size} must be a multiple of 32 from 64 to 640"):
        create("amp", ("a", "b"), **{**TINY, "size": size})


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_an_invalid_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"share .* above 0 and at most 1"):
        create("amp", ("a", "b"), **TINY, share=share)


def test_factor_takes_that_part_of_the_channels_from_the_source(network: Amp) -> None:
    latent = network.encode(torch.rand(2, 3, 64, 64))
    own, target = (inter(latent) for inter in network.inters)
    for factor, taken in {0.0: 0, 0.25: 2, 0.5: 4, 1.0: 8}.items():
        code = torch.cat([own[:, :taken], target[:, taken:]], 1)
        for ours, expected in zip(network.decode_morphed(latent, "source", factor), network.decoder(code), strict=True):
            assert torch.equal(ours, expected)


def test_factors_0_and_1_are_the_two_identities(network: Amp) -> None:
    latent = network.encode(torch.rand(1, 3, 64, 64))
    assert torch.equal(network.decode_morphed(latent, "source", 1)[0], network.decode(latent, "source")[0])
    assert torch.equal(network.decode_morphed(latent, "source", 0)[0], network.decode(latent, "target")[0])
    assert torch.equal(network.decode_morphed(latent, "target", 0.7)[0], network.decode(latent, "target")[0])


@pytest.mark.parametrize("factor", [-0.01, 1.01, float("nan")])
def test_a_factor_outside_0_to_1_is_refused(network: Amp, factor: float) -> None:
    with pytest.raises(ConfigError, match=r"from 0 .* to 1"):
        network.decode_morphed(torch.rand(1, 8), "source", factor)


def test_training_mixes_by_the_generator_alone_and_each_sample_anew(network: Amp) -> None:
    latent = network.encode(torch.rand(1, 3, 64, 64)).expand(3, -1)
    torch.manual_seed(1)
    first, _ = network.decode_in_training(latent, "source", seeded(5))
    torch.manual_seed(2)
    again, _ = network.decode_in_training(latent, "source", seeded(5))
    other, _ = network.decode_in_training(latent, "source", seeded(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.allclose(first[0], first[1])  # the same face, another mixture


def test_training_takes_whole_channels_of_one_inter_or_the_other(network: Amp) -> None:
    seen: list[torch.Tensor] = []
    network.decoder.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    latent = network.encode(torch.rand(64, 3, 64, 64))
    network.decode_in_training(latent, "source", seeded(0))
    own, target = (inter(latent) for inter in network.inters)
    from_own, from_target = ((seen[0] == code).all((2, 3)) for code in (own, target))  # (64, 8)
    assert (from_own ^ from_target).all()
    assert from_own.float().mean() == pytest.approx(0.5, abs=0.1)
    assert 0 < from_own.float().mean(1).std() < 0.3


@pytest.mark.parametrize("share", [0.25, 0.9])
def test_share_is_the_fraction_of_source_channels_in_training(share: float) -> None:
    network = create("amp", ("source", "target"), **TINY, share=share)
    assert isinstance(network, Amp)
    seen: list[torch.Tensor] = []
    network.decoder.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    latent = network.encode(torch.rand(64, 3, 64, 64))
    network.decode_in_training(latent, "source", seeded(0))
    taken = (seen[0] == network.inters[0](latent)).all((2, 3))
    assert taken.float().mean() == pytest.approx(share, abs=0.1)


def test_the_target_is_always_wholly_the_target(network: Amp) -> None:
    latent = network.encode(torch.rand(2, 3, 64, 64))
    generator = seeded(0)
    state = generator.get_state()
    assert torch.equal(network.decode_in_training(latent, "target", generator)[0], network.decode(latent, "target")[0])
    assert torch.equal(generator.get_state(), state)


def test_a_third_identity_is_mixed_with_the_target_too() -> None:
    network = create("amp", ("source", "target", "other"), **TINY)
    assert isinstance(network, Amp)
    latent = network.encode(torch.rand(2, 3, 64, 64))
    rgb, _ = network.decode_in_training(latent, "other", seeded(0))
    rgb.mean().backward()
    reached = [all(w.grad is not None for w in inter.parameters()) for inter in network.inters]
    assert reached == [False, True, True]


def test_both_inters_are_trained_unlike_in_deepfacelab() -> None:
    torch.manual_seed(0)
    network = create("amp", ("source", "target"), **{**TINY, "inter": 64})
    assert isinstance(network, Amp)
    before = [{name: w.detach().clone() for name, w in inter.named_parameters()} for inter in network.inters]
    faces = F.interpolate(torch.rand(12, 3, 4, 4), size=64, mode="bilinear")  # a channel left out six times: 1.6 %
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    generator = seeded(0)
    for step in range(3):
        parts = network.encode(faces).split(6)
        pictures = [
            network.decode_in_training(part, name, generator)[0]
            for part, name in zip(parts, network.identities, strict=True)
        ]
        F.mse_loss(torch.cat(pictures), faces).backward()
        for inter in network.inters:
            for name, weight in inter.named_parameters():
                assert weight.grad is not None, name
                assert (weight.grad != 0).float().mean() > 0.9, (step, name)
        optimizer.step()
        optimizer.zero_grad()
    for inter, start in zip(network.inters, before, strict=True):
        for name, weight in inter.named_parameters():
            assert ((weight - start[name]).abs() > 1e-4).float().mean() > 0.9, name


def test_only_amp_morphs(network: Amp) -> None:
    assert network.morphs
    other = create("quick", ("a", "b"))
    assert not other.morphs
    with pytest.raises(ConfigError, match="Quick does not morph"):
        other.decode_morphed(torch.rand(1, 8), "a", 0.5)
