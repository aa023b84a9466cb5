"""The SAEHD family's blocks against plain PyTorch in NCHW, NumPy and hand-computed parameter counts."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.plain import conv, count, plain_residual, plain_up
from visagist.core.errors import ConfigError
from visagist.models import create
from visagist.models.blocks.saehd import (
    Decoder,
    Encoder,
    Heads,
    Inter,
    Residual,
    Up,
    Variant,
    cosine,
    initialize_,
    leaky_relu_,
    unit_norm,
)

TINY: dict[str, object] = {"size": 64, "latent": 8, "encoder": 4, "decoder": 4, "mask": 2}
OPTIONS = ["", "u", "d", "t", "c", "dt", "udtc"]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("options", ["x", "uu", "UD", "u-d"])
def test_unknown_options_are_refused_with_the_valid_ones(options: str) -> None:
    with pytest.raises(ConfigError, match="u, d, t and c"):
        create("df", ("a", "b"), options=options)


@pytest.mark.parametrize("model", ["df", "liae"])
@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        (48, "", "multiple of 16 from 64 to 640, such as 64"),
        (100, "", "such as 96 or 112"),
        (112, "d", "multiple of 32 from 64 to 640, such as 96 or 128"),
        (656, "", "such as 640"),
        (-64, "", "such as 64"),
    ],
)
def test_invalid_sizes_are_refused_with_valid_ones(model: str, size: int, options: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"model '{model}': size {size} .*{expected}"):
        create(model, ("a", "b"), size=size, options=options)


@pytest.mark.parametrize("model", ["df", "liae", "amp"])
@pytest.mark.parametrize("setting", [{"latent": 0}, {"encoder": -1}, {"decoder": 5000}, {"mask": 0}])
def test_invalid_widths_are_refused_with_the_range(model: str, setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"model '{model}': {next(iter(setting))} .*from 1 to 4096"):
        create(model, ("a", "b"), **setting)


def test_cosine_is_x_times_cos_x() -> None:
    x = np.linspace(-5, 5, 41)
    assert torch.allclose(cosine(torch.from_numpy(x), 0.1), torch.from_numpy(x * np.cos(x)))
    assert torch.autograd.gradcheck(
        lambda y: cosine(y, 0.1), torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    )


def test_unit_norm_gives_every_face_the_same_length_and_keeps_its_direction() -> None:
    x = torch.randn(3, 50, dtype=torch.float64)
    expected = x.numpy() / np.sqrt((x.numpy() ** 2).mean(1, keepdims=True))
    assert np.allclose(unit_norm(x).numpy(), expected, atol=1e-5)
    assert torch.autograd.gradcheck(unit_norm, x.requires_grad_())


def test_unit_norm_of_a_half_precision_row_is_as_good_as_of_float32() -> None:
    x = torch.randn(2, 4096).bfloat16()
    normed = unit_norm(x)
    assert normed.dtype == torch.float32
    assert torch.allclose(normed.square().mean(1), torch.ones(2), atol=1e-4)


def test_option_u_makes_the_latent_blind_to_contrast() -> None:
    # without biases, a network of leaky ReLUs scales with its input unless u normalises it
    faces = torch.rand(1, 3, 64, 64)
    plain, normed = (Encoder(4, Variant.parse("df", options)) for options in ("", "u"))
    for encoder in (plain, normed):
        initialize_(encoder, Variant.parse("df", ""))  # no bias
    assert torch.allclose(plain(faces / 2), plain(faces) / 2, atol=1e-6)
    assert torch.allclose(normed(faces / 2), normed(faces), atol=1e-3)


def test_option_c_replaces_every_leaky_relu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("leaky ReLU in a network with c")

    network = create("df", ("a", "b"), **TINY, options="ct")
    monkeypatch.setattr(F, "leaky_relu", refuse)
    network(torch.rand(1, 3, 64, 64), "a")
    with pytest.raises(AssertionError, match="with c"):
        create("df", ("a", "b"), **TINY)(torch.rand(1, 3, 64, 64), "a")


def test_blocks_are_what_plain_pytorch_computes_in_nchw() -> None:
    x = torch.rand(2, 6, 5, 5) - 0.5
    up, residual = Up(6, 3, leaky_relu_), Residual(6, leaky_relu_)
    state = {f"up.{k}": v for k, v in up.state_dict().items()}
    state |= {f"residual.{k}": v for k, v in residual.state_dict().items()}
    assert torch.allclose(up(x), plain_up(state, "up", x), atol=1e-6)
    assert torch.allclose(residual(x), plain_residual(state, "residual", x), atol=1e-6)


def test_doubled_heads_are_four_convolutions_interleaved() -> None:
    heads = Heads(6)
    for weight in heads.parameters():
        torch.nn.init.normal_(weight)
    x = torch.rand(2, 6, 4, 5)
    drawn = heads(x)
    assert drawn.shape == (2, 3, 8, 10)
    kernels = [heads.first, *heads.others.split(3)]
    for place, (kernel, bias) in enumerate(zip(kernels, heads.bias.split(3), strict=True)):
        y, x_ = divmod(place, 2)
        alone = F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)
        assert torch.allclose(drawn[:, :, y::2, x_::2], alone, atol=1e-5)


def test_doubled_heads_train() -> None:
    heads = Heads(6)
    for weight in heads.parameters():
        torch.nn.init.normal_(weight)
    heads(torch.rand(2, 6, 4, 4)).square().mean().backward()
    for weight in heads.parameters():
        assert weight.grad is not None
        assert weight.grad.abs().min() > 0


@pytest.mark.parametrize("deeper", [False, True])
def test_encoder_has_the_published_stages(deeper: bool) -> None:
    e = 8
    encoder = Encoder(e, Variant(False, False, deeper, False))
    stages = [(3, e), (e, 2 * e), (2 * e, 4 * e), (4 * e, 8 * e)] + [(8 * e, 8 * e)] * deeper
    residuals = 2 * conv(3, e, e) + 2 * conv(3, 8 * e, 8 * e) if deeper else 0
    assert count(encoder) == sum(conv(5, *stage) for stage in stages) + residuals


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [64, 96])
def test_inter_is_two_dense_layers_and_an_upscale(options: str, size: int) -> None:
    variant = Variant.parse("df", options)
    numbers, side = Encoder.output_length(size, 4, variant), size // (32 if "d" in options else 16)
    inter = Inter(numbers, 7, 10, size, variant)
    dense = numbers * 7 + 7 + 7 * side**2 * 10 + side**2 * 10
    assert count(inter) == dense + (0 if "t" in options else conv(3, 10, 40))
    flat = Encoder(4, variant)(torch.rand(2, 3, size, size))
    assert flat.shape == (2, numbers)
    assert inter(flat).shape[1:] == (10, *[side if "t" in options else 2 * side] * 2)


@pytest.mark.parametrize("options", OPTIONS)
def test_decoder_has_the_published_stages(options: str) -> None:
    d, m, variant = 6, 3, Variant.parse("df", options)
    decoder = Decoder(10, d, m, variant)
    stages = [8, 8, 4, 2] if "t" in options else [8, 4, 2]
    inputs = [10, *(stage * d for stage in stages)]
    picture = sum(conv(3, i, 4 * o) + 2 * conv(3, o, o) for i, o in pairwise(inputs))
    masks = [10, *(stage * m for stage in stages)] + ([m] if "d" in options else [])
    mask = sum(conv(3, i, 4 * o) for i, o in pairwise(masks)) + conv(1, masks[-1], 1)
    heads = conv(1, 2 * d, 3) + (3 * conv(3, 2 * d, 3) if "d" in options else 0)
    assert count(decoder) == picture + mask + heads


@pytest.mark.parametrize("model", ["df", "liae"])
@pytest.mark.parametrize("options", OPTIONS)
def test_every_variant_draws_its_size(model: str, options: str) -> None:
    for size in (64, 96) if "d" in options else (64, 80):  # 80: t's fifth downscale rounds up
        network = create(model, ("a", "b"), **{**TINY, "size": size}, options=options)
        rgb, mask = network(torch.rand(1, 3, size, size), "b")
        assert rgb.shape == (1, 3, size, size)
        assert mask.shape == (1, 1, size, size)


def test_the_largest_and_the_smallest_size_fit_together() -> None:
    with torch.device("meta"):
        for size in (64, 640):
            for options in OPTIONS:
                network = create("df", ("a", "b"), **{**TINY, "size": size}, options=options)
                assert network(torch.rand(1, 3, size, size), "a")[0].shape == (1, 3, size, size)


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        (torch.float32, torch.channels_last),
        (torch.bfloat16, torch.channels_last),
        (torch.float32, torch.contiguous_format),
    ],
)
@pytest.mark.parametrize(("model", "options"), [*((m, o) for m in ("df", "liae") for o in OPTIONS), ("amp", "")])
def test_no_block_changes_the_memory_format(
    model: str, options: str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    network = create(model, ("a", "b"), **TINY, **({} if model == "amp" else {"options": options}))
    network.to(memory_format=layout)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
    seen: set[str] = set()
    left: list[str] = []

    def check(layer: torch.nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.add(type(layer).__name__)
        for x in (
            *(inputs if isinstance(layer, torch.nn.Conv2d) else ()),
            output,
        ):  # latents are reshaped inside blocks
            if not x.is_contiguous(memory_format=layout):
                left.append(f"{layer} {tuple(x.shape)} {x.stride()}")

    for layer in network.modules():
        if isinstance(layer, (*network.checkpoint_blocks, Heads, torch.nn.Conv2d)):
            layer.register_forward_hook(check)
    faces = torch.rand(3, 3, 64, 64).contiguous(memory_format=layout)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        latent = network.encode(faces)
        for name in network.identities:
            rgb, mask = network.decode_in_training(latent, name, torch.Generator().manual_seed(0))
            assert rgb.dtype == mask.dtype == torch.float32
    assert left == []
    assert {"Down", "Up", "Residual", "Conv2d"} <= seen


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_keep_the_memory_format(layout: torch.memory_format) -> None:
    network = create("df", ("a", "b"), **TINY, options="d")
    network.to(memory_format=layout)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
    left: list[str] = []
    checked: list[torch.nn.Module] = []

    def check(layer: torch.nn.Module, _: object, drawn: Tensor) -> None:
        def check_gradient(gradient: Tensor) -> None:
            checked.append(layer)
            if not gradient.is_contiguous(memory_format=layout):
                left.append(str(layer))

        drawn.register_hook(check_gradient)  # a backward hook of the layer would not allow in-place operations

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.in_channels > 3:
            layer.register_forward_hook(check)
    rgb, mask = network(torch.rand(2, 3, 64, 64).contiguous(memory_format=layout), "a")
    (rgb.square().mean() + mask.square().mean()).backward()
    assert left == []
    assert len(checked) == 3 + 1 + 9 + 4  # downscales but the first, inter, picture without its heads, mask


@pytest.mark.parametrize("model", ["df", "liae", "amp"])
def test_compiles_as_one_graph_and_changes_no_input(model: str) -> None:
    network = create(model, ("a", "b"), **TINY, **({} if model == "amp" else {"options": "udtc"}))
    faces = torch.rand(2, 3, 64, 64)
    before = faces.clone()
    compiled = torch.compile(network, fullgraph=True, backend="eager")  # refuses graph breaks
    for ours, plain in zip(compiled(faces, "a"), network(faces, "a"), strict=True):
        assert torch.allclose(ours, plain, atol=1e-5)
    assert torch.equal(faces, before)


@pytest.mark.parametrize("options", ["", "u", "dt", "c"])
def test_initialization_preserves_the_signal(options: str) -> None:
    network = create("df", ("a", "b"), latent=64, encoder=16, decoder=16, mask=8, options=options)
    deviations: list[float] = []
    for layer in network.modules():
        if isinstance(layer, Up | Residual):
            layer.register_forward_hook(lambda *args: deviations.append(args[2].std().item()))
    rgb, _ = network(torch.rand(2, 3, 128, 128), "a")
    assert min(deviations) > 0.03
    assert max(deviations) < 5
    assert (rgb - 0.5).abs().mean() < 0.2


def test_initialization_sets_every_weight() -> None:
    decoder, variant = Decoder(4, 4, 2, Variant.parse("df", "d")), Variant.parse("df", "d")
    initialize_(decoder, variant)
    assert all(torch.isfinite(weight).all() for weight in decoder.parameters())
    assert isinstance(decoder.draw, Heads)
    assert decoder.draw.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("model", "settings"),
    [("df", {}), ("df", {"options": "tc"}), ("liae", {"options": "ud"}), ("amp", {"inter": 16})],
)
def test_thirty_steps_lower_the_loss(model: str, settings: dict[str, object]) -> None:
    network = create(model, ("a", "b"), **TINY, **settings)
    faces = F.interpolate(torch.rand(4, 3, 4, 4), size=64, mode="bicubic").clamp(0, 1)
    masks = F.interpolate(torch.rand(4, 1, 3, 3), size=64, mode="bilinear")
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses: list[float] = []
    for _ in range(30):
        parts = network.encode(faces).split(2)
        drawn = [network.decode_in_training(part, name, generator) for part, name in zip(parts, "ab", strict=True)]
        rgb, mask = (torch.cat(planes) for planes in zip(*drawn, strict=True))
        loss = F.mse_loss(rgb, faces) + F.mse_loss(mask, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
