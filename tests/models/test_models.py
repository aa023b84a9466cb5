"""Every architecture fulfils the interface of `Swapper`, at small sizes."""

from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES, Swapper, configure, create
from visagist.models.blocks.layers import depth_to_space, space_to_depth

SMALL: dict[str, dict[str, object]] = {
    name: asdict(kind.tiny or kind.Config())  # pyright: ignore[reportArgumentType] - a dataclass
    for name, kind in ARCHITECTURES.items()
}


@pytest.fixture(params=ARCHITECTURES.names)
def network(request: pytest.FixtureRequest) -> Swapper:
    torch.manual_seed(0)
    return create(request.param, ("ann", "bob"), **SMALL[request.param])


def test_draws_rgb_and_mask_at_the_size_of_the_input(network: Swapper) -> None:
    size = network.size
    rgb, mask = network(torch.rand(3, 3, size, size), "bob")
    assert rgb.shape == (3, 3, size, size)
    assert mask.shape == (3, 1, size, size)
    assert rgb.dtype == mask.dtype == torch.float32
    for drawn in (rgb, mask):
        assert drawn.min() >= 0
        assert drawn.max() <= 1


@pytest.mark.parametrize("name", ARCHITECTURES.names)
def test_default_size_draws_its_own_size(name: str) -> None:
    with torch.device("meta"):  # shapes without the work
        network = create(name, ("source", "target"))
        rgb, _ = network(torch.rand(1, 3, network.size, network.size), "source")
    assert rgb.shape == (1, 3, network.size, network.size)


def test_decoding_one_identity_trains_the_shared_weights_and_its_own_only(network: Swapper) -> None:
    rgb, mask = network(torch.rand(2, 3, network.size, network.size), "bob")
    (rgb.mean() + mask.mean()).backward()
    for name, weight in network.named_parameters():
        if network.owner_of(name) == "ann":
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("amp", "inters.0.spread.weight"),
        ("df", "decoders.0.draw.weight"),
        ("original", "decoders.0.draw.weight"),
        ("quick", "decoders.0.draw.weight"),
        ("visage", "bends.0.0.left"),
    ],
)
def test_weights_belong_to_the_identity_in_their_name(name: str, weight: str) -> None:
    network = create(name, ("ann", "bob"), **SMALL[name])
    other = weight.replace(".0", ".1", 1)
    assert {weight, other} <= network.state_dict().keys()
    assert (network.owner_of(weight), network.owner_of(other)) == ("ann", "bob")


def test_identities_share_the_latent_and_differ_in_the_result(network: Swapper) -> None:
    latent = network.encode(torch.rand(2, 3, network.size, network.size))
    assert len(latent) == 2
    assert not torch.equal(network.decode(latent, "ann")[0], network.decode(latent, "bob")[0])


def test_only_amp_decodes_differently_in_training(network: Swapper) -> None:
    latent = network.encode(torch.rand(2, 3, network.size, network.size))
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    trained, plain = network.decode_in_training(latent, "ann", generator), network.decode(latent, "ann")
    is_same = all(torch.equal(x, y) for x, y in zip(trained, plain, strict=True))
    assert is_same == torch.equal(generator.get_state(), state) == (not network.morphs)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["amp", "df", "liae", "original", "quick", "visage"])
def test_convolutions_keep_the_memory_format_of_the_weights(name: str, layout: torch.memory_format) -> None:
    """For speed; not required of other architectures."""
    network = create(name, ("ann", "bob"), **SMALL[name])
    network.to(memory_format=layout)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
    left: list[str] = []

    def check(layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if not all(x.is_contiguous(memory_format=layout) for x in (inputs[0], output)):
            left.append(str(layer))

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels > 3:
            layer.register_forward_hook(check)
    faces = torch.rand(2, 3, network.size, network.size).contiguous(memory_format=layout)
    for identity in network.identities:
        network(faces, identity)
    assert left == []


def test_the_memory_format_does_not_change_the_result(network: Swapper) -> None:
    faces = torch.rand(2, 3, network.size, network.size)
    drawn: list[torch.Tensor] = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network.to(memory_format=layout)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
        drawn.append(torch.cat(network(faces.contiguous(memory_format=layout), "ann"), 1))
    torch.testing.assert_close(drawn[0], drawn[1], rtol=1e-4, atol=1e-5)


def test_learns_to_draw_two_faces(network: Swapper) -> None:
    faces = F.interpolate(torch.rand(2, 3, 4, 4), size=network.size, mode="bilinear")
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    losses: list[float] = []
    for _ in range(80):
        rgb, _ = network(faces, "ann")
        loss = F.l1_loss(rgb, faces)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_same_seed_same_weights() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        made.append(create("quick", ("a", "b"), **SMALL["quick"]).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_three_identities_have_three_decoders() -> None:
    network = create("quick", ("a", "b", "c"), **SMALL["quick"])
    latent = network.encode(torch.rand(1, 3, 32, 32))
    pictures = [network.decode(latent, name)[0] for name in "abc"]
    assert all(not torch.equal(x, y) for x, y in pairwise(pictures))


def test_depth_to_space_is_pixel_shuffle_with_the_channel_fastest() -> None:
    x = torch.rand(2, 4 * 9, 5, 7)
    slowest = x.unflatten(1, (9, 4)).transpose(1, 2).flatten(1, 2)  # pixel_shuffle has the channel slowest
    assert torch.equal(depth_to_space(x, 3), F.pixel_shuffle(slowest, 3))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_space_to_depth_is_the_inverse_and_both_stay_in_their_layout(layout: torch.memory_format) -> None:
    x = torch.rand(2, 5, 8, 12).contiguous(memory_format=layout)
    folded = space_to_depth(x, 4)
    assert folded.shape == (2, 80, 2, 3)
    assert torch.equal(depth_to_space(folded, 4), x)
    assert folded.is_contiguous(memory_format=layout)
    assert depth_to_space(folded, 4).is_contiguous(memory_format=layout)


def test_depth_to_space_is_the_same_in_both_layouts() -> None:
    x = torch.rand(2, 36, 5, 7)
    assert torch.equal(depth_to_space(x, 3), depth_to_space(x.contiguous(memory_format=torch.channels_last), 3))


@pytest.mark.parametrize("identities", [(), ("one",), ("same", "same")])
def test_fewer_than_two_identities_are_refused(identities: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="two or more"):
        create("quick", identities)


def test_unknown_names_are_refused_with_the_available_ones(network: Swapper) -> None:
    with pytest.raises(ConfigError, match=r"slow.*original.*quick"):
        create("slow", ("a", "b"))
    with pytest.raises(ConfigError, match="latent"):
        configure("quick", {"depth": 3})
    with pytest.raises(ConfigError, match="ann, bob"):
        network(torch.rand(1, 3, network.size, network.size), "eve")


@pytest.mark.parametrize("settings", [{"latent": -5}, {"latent": "many"}, {"size": 100}, {"encoder": [1, 2]}])
def test_invalid_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="quick"):
        configure("quick", settings)


@pytest.mark.parametrize("name", ARCHITECTURES.names)
def test_sizes_below_the_window_of_structural_similarity_are_refused(name: str) -> None:
    """Regression: training at 16 px failed in its first iteration."""
    with pytest.raises(ConfigError, match="size"):
        create(name, ("ann", "bob"), **{**SMALL[name], "size": 16})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("quick", {"encoder": "8,8,2"}, "the last number of encoder 2 must be from 4 to 4096"),
        ("quick", {"encoder": "8,0,8"}, "encoder 0 must be from 1 to 4096"),
        ("quick", {"encoder": "8,16"}, "encoder must be 3 numbers such as 96,192,320, not 8,16"),
        ("quick", {"encoder": 8}, "encoder must be 3 numbers such as 96,192,320, not 8"),
        ("quick", {"decoder": [8, 8, 8, 8, 8]}, "decoder must be 4 numbers such as 320,256,160,64, not"),
        ("original", {"width": 1}, "width 1 must be from 2 to 4096"),
        ("df", {"options": "u,d"}, "options 'u,d' must be of the letters u, d, t and c, each once, such as ud"),
        ("liae", {"latent": "64,64"}, "latent: .*integer.*64,64"),
        ("df", {"latent": 1.5}, "latent: .*integer.*1.5"),
        ("quick", {"encoder": "8,8,wide"}, "encoder.2: .*integer.*wide"),
    ],
)
def test_invalid_settings_are_refused_with_the_valid_range(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"model '{name}': {message}"):
        configure(name, settings)


@pytest.mark.parametrize(("name", "settings"), [("quick", {"encoder": (1, 1, 4)}), ("original", {"width": 2})])
def test_the_narrowest_networks_draw(name: str, settings: dict[str, object]) -> None:
    network = create(name, ("ann", "bob"), **{**SMALL[name], **settings})
    assert network(torch.rand(1, 3, 32, 32), "ann")[0].shape == (1, 3, 32, 32)


def test_settings_can_be_text_or_lists() -> None:
    config = configure("quick", {"latent": "64", "encoder": [32, 48, 64]})
    assert config == configure("quick", {"latent": 64, "encoder": (32, 48, 64)})
