"""`visage`: its forward pass against plain PyTorch in NCHW, its levels, and the cost of an identity."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.plain import count, plain_shuffle
from visagist.core.errors import ConfigError
from visagist.models import configure, create
from visagist.models.visage import Visage

TINY: dict[str, Any] = {
    "size": 64,
    "encoder": (8, 12, 16),
    "latent": 6,
    "shared": 4,
    "decoder": (16, 12, 8, 8),
    "depth": (2, 1, 1, 1),
}


def plain(state: dict[str, Tensor], x: Tensor, person: int, rank: int) -> Tensor:
    """Reference for `Visage` with the settings of `TINY`: RGB and mask, `(B, 4, R, R)`."""

    def conv(name: str, x: Tensor, number: int | None = None, stride: int = 1) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if number is not None and rank:
            adapter = f"bends.{person}.{number}"
            _, i, k, _ = weight.shape
            matrix = torch.einsum("or,rn->on", state[f"{adapter}.left"], state[f"{adapter}.right"])
            weight = weight + torch.stack([row.view(k, k, i).permute(2, 0, 1) for row in matrix])
            bias = bias + state[f"{adapter}.bias"]
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def leaky(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.1)

    def block(name: str, x: Tensor, numbers: tuple[int, int, int] | None = None) -> Tensor:
        a, b, c = numbers or (None, None, None)
        y = leaky(conv(f"{name}.mix", leaky(conv(f"{name}.narrow", x, a)), b))
        return leaky(x + conv(f"{name}.widen", y, c))

    b, _, side, _ = x.shape
    patches = (x - 0.5).view(b, 3, side // 4, 4, side // 4, 4).permute(0, 3, 5, 1, 2, 4).reshape(b, 48, side // 4, -1)
    x = leaky(conv("encoder.patches", patches))
    for i in range(2):
        x = leaky(conv(f"encoder.downs.{i}", x, stride=2))
    x = conv("encoder.narrow", block("encoder.block", x))  # (B, 4, 4, 4)
    code = F.linear(x.permute(0, 2, 3, 1).flatten(1), state["encoder.squeeze.weight"], state["encoder.squeeze.bias"])
    code = leaky(F.linear(code, state["encoder.spread.weight"], state["encoder.spread.bias"]))
    x = code.view(b, 4, 4, 4).permute(0, 3, 1, 2).contiguous()
    decoder = "decoder" if rank else f"decoders.{person}"
    x = leaky(conv(f"{decoder}.enter", x, 0))
    x = block(f"{decoder}.levels.0.blocks.0", x, (1, 2, 3))
    x = block(f"{decoder}.levels.0.blocks.1", x, (4, 5, 6))
    for level in (1, 2, 3):
        x = plain_shuffle(conv(f"{decoder}.ups.{level - 1}", x, 15 + level))
        first = 4 + 3 * level
        x = block(f"{decoder}.levels.{level}.blocks.0", x, (first, first + 1, first + 2))
    return torch.sigmoid(plain_shuffle(conv(f"{decoder}.draw", x, 19)))


@pytest.mark.parametrize("rank", [0, 3])
def test_computes_what_plain_pytorch_does_in_nchw(rank: int) -> None:
    torch.manual_seed(0)
    network = create("visage", ("a", "b"), **TINY, rank=rank)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    faces = torch.rand(2, 3, 64, 64)
    for person, name in enumerate("ab"):
        drawn = torch.cat(network(faces, name), 1)
        assert torch.allclose(drawn, plain(network.state_dict(), faces, person, rank), atol=1e-5)
        assert drawn.std() > 0.01  # not just grey


@pytest.mark.parametrize(
    ("size", "side", "levels"),
    [(64, 4, 4), (128, 8, 4), (192, 12, 4), (240, 15, 4), (256, 8, 5), (448, 14, 5), (512, 8, 6), (640, 10, 6)],
)
def test_larger_faces_have_extra_levels_of_half_the_width(size: int, side: int, levels: int) -> None:
    with torch.device("meta"):
        network = create("visage", ("a", "b"), size=size)
        assert isinstance(network, Visage)
        faces = torch.rand(1, 3, size, size)
        assert network.encode(faces).shape == (1, 128, side, side)
        rgb, mask = network(faces, "a")
    assert (rgb.shape, mask.shape) == ((1, 3, size, size), (1, 1, size, size))
    widths = [level.blocks[0].narrow.in_channels for level in network.decoders[0].levels]  # pyright: ignore[reportAttributeAccessIssue]
    assert widths == [384, 256, 128, 64, 32, 16][:levels]


def test_with_low_rank_adapters_an_identity_costs_a_fraction_of_a_decoder() -> None:
    with torch.device("meta"):
        separate, adapted = (
            [count(create("visage", people, rank=rank)) for people in (("a", "b"), ("a", "b", "c"))] for rank in (0, 16)
        )
    assert (adapted[1] - adapted[0]) * 8 < separate[1] - separate[0]


def test_adapters_distinguish_identities_from_the_start_and_belong_to_one_each() -> None:
    torch.manual_seed(0)
    network = create("visage", ("a", "b"), **TINY, rank=3)
    latent = network.encode(torch.rand(4, 3, 64, 64))
    drawn = {name: network.decode(latent, name)[0] for name in "ab"}
    between_identities = (drawn["a"] - drawn["b"]).std()
    assert between_identities > (drawn["a"] - drawn["a"].mean(0)).std()  # more than between faces of one identity
    drawn["b"].mean().backward()
    moved = {name for name, weight in network.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert any(name.startswith("bends.1.") for name in moved)
    assert not any(name.startswith("bends.0.") for name in moved)
    assert network.owner_of("bends.1.0.left") == "b"
    assert network.owner_of("decoder.draw.weight") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 120}, "multiple of 16 from 32 to 640, such as 112 or 128"),
        ({"size": 272}, "multiple of 32"),
        ({"size": 544}, "multiple of 64"),
        ({"decoder": (384, 0, 128, 64)}, "decoder 0 must be from 1 to 4096"),
        ({"encoder": (2, 8, 8)}, "encoder 2 must be from 4 to 4096"),
        ({"depth": (0, 1, 1, 1)}, "1 to 32 blocks"),
        ({"rank": -1}, "rank -1 must be from 0"),
    ],
)
def test_invalid_settings_are_refused_with_the_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("visage", settings)
