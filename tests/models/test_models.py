"""Every architecture keeps the contract of `Swapper`, at sizes that are quick to compute."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.models.plain import count
from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES, Swapper, configure, create
from visagist.models.base import depth_to_space, space_to_depth
from visagist.training.losses.ssim import multiscale_dssim

SMALL: dict[str, dict[str, object]] = {
    "original": {"size": 32, "width": 8, "latent": 16},
    "quick": {"size": 32, "encoder": (8, 16, 16), "latent": 16, "shared": 8, "decoder": (16, 16, 8, 8)},
    "visage": {"size": 32, "encoder": (8, 16, 16), "latent": 16, "shared": 8, "decoder": (16, 16, 8, 8), "rank": 2},
    "df": {"size": 64, "latent": 16, "encoder": 4, "decoder": 4, "mask": 2},
    "liae": {"size": 64, "latent": 8, "encoder": 4, "decoder": 4, "mask": 2},
    "amp": {"size": 64, "latent": 16, "inter": 16, "encoder": 4, "decoder": 4, "mask": 2},
}
ANNS = {
    "liae": "nothing: her inter is everybody's",
    "amp": "inters.0.",
    "visage": "bends.0.",
}  # weights of one person; else decoders.0.


@pytest.fixture(params=sorted(ARCHITECTURES))
def network(request: pytest.FixtureRequest) -> Swapper:
    torch.manual_seed(0)
    return create(request.param, ("ann", "bob"), **SMALL[request.param])


def test_every_architecture_has_a_small_version_here() -> None:
    assert set(SMALL) == set(ARCHITECTURES)


def test_draws_rgb_and_mask_at_the_size_of_the_input(network: Swapper) -> None:
    size = network.size
    rgb, mask = network(torch.rand(3, 3, size, size), "bob")
    assert rgb.shape == (3, 3, size, size)
    assert mask.shape == (3, 1, size, size)
    assert rgb.dtype == mask.dtype == torch.float32
    for drawn in (rgb, mask):
        assert drawn.min() >= 0
        assert drawn.max() <= 1


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_default_size_draws_its_own_size(name: str) -> None:
    with torch.device("meta"):  # shapes without the work
        network = create(name, ("source", "target"))
        rgb, _ = network(torch.rand(1, 3, network.size, network.size), "source")
    assert rgb.shape == (1, 3, network.size, network.size)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_docs_state_the_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        two, three = (count(create(name, people)) for people in (("a", "b"), ("a", "b", "c")))
    rows = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8").splitlines()
    row = next(row for row in rows if row.startswith(f"| [`{name}`]"))
    assert row.endswith(f"| {two / 1e6:.2f} M | {(three - two) / 1e6:.2f} M |")


def test_decoding_one_person_trains_what_is_shared_and_that_persons_weights_only(
    network: Swapper, request: pytest.FixtureRequest
) -> None:
    rgb, mask = network(torch.rand(2, 3, network.size, network.size), "bob")
    (rgb.mean() + mask.mean()).backward()
    anns = ANNS.get(request.node.callspec.params["network"], "decoders.0.")
    for name, weight in network.named_parameters():
        if name.startswith(anns):
            assert weight.grad is None, name
        else:
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name


def test_the_people_share_the_latent_and_differ_in_the_picture(network: Swapper) -> None:
    latent = network.encode(torch.rand(2, 3, network.size, network.size))
    assert len(latent) == 2
    assert not torch.equal(network.decode(latent, "ann")[0], network.decode(latent, "bob")[0])


def test_only_amp_draws_in_training_what_it_draws_nowhere_else(network: Swapper) -> None:
    latent = network.encode(torch.rand(2, 3, network.size, network.size))
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    trained, plain = network.decode_in_training(latent, "ann", generator), network.decode(latent, "ann")
    is_same = all(torch.equal(x, y) for x, y in zip(trained, plain, strict=True))
    assert is_same == torch.equal(generator.get_state(), state) == (not network.morphs)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_every_convolution_gets_and_gives_the_layout_of_the_weights(
    network: Swapper, layout: torch.memory_format
) -> None:
    network.to(memory_format=layout)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
    left: list[str] = []

    def check(layer: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if not all(x.is_contiguous(memory_format=layout) for x in (inputs[0], output)):
            left.append(str(layer))

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels > 3:
            layer.register_forward_hook(check)
    faces = torch.rand(2, 3, network.size, network.size).contiguous(memory_format=layout)
    for name in network.identities:
        network(faces, name)
    assert left == []


def test_the_layout_changes_no_picture(network: Swapper) -> None:
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
    slowest = x.unflatten(1, (9, 4)).transpose(1, 2).flatten(1, 2)  # pixel_shuffle wants the channel slowest
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
def test_fewer_than_two_people_are_refused(identities: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="two or more"):
        create("quick", identities)


def test_wrong_names_are_refused_with_those_that_exist(network: Swapper) -> None:
    with pytest.raises(ConfigError, match="original, quick"):
        create("slow", ("a", "b"))
    with pytest.raises(ConfigError, match="latent"):
        configure("quick", {"depth": 3})
    with pytest.raises(ConfigError, match="ann, bob"):
        network(torch.rand(1, 3, network.size, network.size), "eve")


@pytest.mark.parametrize("settings", [{"latent": -5}, {"latent": "many"}, {"size": 100}, {"encoder": [1, 2]}])
def test_settings_that_make_no_network_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="quick"):
        configure("quick", settings)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_smallest_size_can_be_trained_and_smaller_ones_are_refused(name: str) -> None:
    """Faces of 16 px do not hold the windows of structural similarity: their training ended in its first iteration."""
    with pytest.raises(ConfigError, match=rf"size 16 must be a multiple of \d+ from {SMALL[name]['size']} to \d+"):
        create(name, ("ann", "bob"), **{**SMALL[name], "size": 16})
    network = create(name, ("ann", "bob"), **SMALL[name])
    faces = torch.rand(1, 3, network.size, network.size)
    hull = torch.ones(1, 1, network.size, network.size)
    assert torch.isfinite(multiscale_dssim(network(faces, "ann")[0], faces, hull))


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
        ("liae", {"latent": "64,64"}, "latent must be a whole number, not 64,64"),
        ("df", {"latent": 1.5}, "latent must be a whole number, not 1.5"),
        ("quick", {"encoder": "8,8,wide"}, "encoder must be 3 values, each a whole number, not wide"),
    ],
)
def test_settings_that_make_no_network_are_refused_with_what_would(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"model '{name}': {message}"):
        configure(name, settings)


@pytest.mark.parametrize(("name", "settings"), [("quick", {"encoder": (1, 1, 4)}), ("original", {"width": 2})])
def test_the_narrowest_networks_draw(name: str, settings: dict[str, object]) -> None:
    network = create(name, ("ann", "bob"), **{**SMALL[name], **settings})
    assert network(torch.rand(1, 3, 32, 32), "ann")[0].shape == (1, 3, 32, 32)


def test_settings_come_as_text_and_lists_too() -> None:
    config = configure("quick", {"latent": "64", "encoder": [32, 48, 64]})
    assert config == configure("quick", {"latent": 64, "encoder": (32, 48, 64)})
