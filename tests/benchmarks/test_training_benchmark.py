"""The training benchmark on a tiny network: what it calls a ceiling, a reference and waste is that."""

import math

import torch
from benchmarks.research.ceiling import Bench, collect
from benchmarks.research.plain import PlainDf
from benchmarks.research.waste import leavers
from torch import nn

from benchmarks import training
from visagist.core.device import Compute
from visagist.models import create
from visagist.models.df import DfConfig

CPU = Compute(torch.device("cpu"), None, torch.channels_last)
TINY: dict[str, object] = {"size": 64, "latent": 8, "encoder": 4, "decoder": 4, "mask": 2}


def test_all_figures_of_a_tiny_df_hang_together() -> None:
    figures = training.measure("df", TINY, 4, CPU, 1, peak_tflops=1.0)
    assert (figures.network, figures.size, figures.faces) == ("df", 64, 4)
    assert figures.step_s > 0
    assert math.isclose(figures.faces_s_compute * figures.compute_s, 4)
    assert math.isclose(figures.share, figures.ceiling_s / figures.compute_s)
    assert math.isclose(figures.ceiling_s, sum(ahead + back for _, ahead, back in figures.calls.values()))
    assert figures.peak_share == figures.tflop_s
    assert figures.ratio is not None
    assert sum(count for count, _, _ in figures.calls.values()) == 4 + 2 + 1 + 2 * (3 + 6 + 3 + 2)
    assert sum("no gradient" in call for call in figures.calls) == 1  # the first layer's
    assert "of it reached by compute" in training.table(figures)


def test_the_ceiling_hears_each_layer_with_what_it_was_given() -> None:
    layer, dense = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Linear(4, 5, bias=False)
    faces = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        calls = collect(lambda: [layer(faces), layer(faces), dense(torch.rand(2, 4, requires_grad=True))])
    (conv, twice), (linear, once) = calls.items()
    assert (twice, once) == (2, 1)
    assert conv.dtype == torch.bfloat16
    assert conv.output.shape == (2, 8, 4, 4)
    assert conv.tensors[0] is not None
    assert conv.tensors[0].channels_last
    assert not conv.tensors[0].needs_grad
    assert linear.tensors[0] is not None
    assert linear.tensors[0].needs_grad
    assert all(ahead > 0 and back > 0 for ahead, back in Bench(calls, CPU.device).round().values())


def test_the_reference_is_the_same_network() -> None:
    config = DfConfig(size=64, latent=8, encoder=4, decoder=4, mask=2)
    plain, ours = PlainDf(("a", "b"), config), create("df", ("a", "b"), **TINY)
    assert sum(w.numel() for w in plain.parameters()) == sum(w.numel() for w in ours.parameters())
    shapes = [[drawn.shape for drawn in network(torch.rand(2, 3, 64, 64), "b")] for network in (plain, ours)]
    assert shapes[0] == shapes[1]
    heard = [collect(lambda network=network: network(torch.rand(2, 3, 64, 64), "b")) for network in (plain, ours)]
    assert sorted(map(str, heard[0].elements())) == sorted(map(str, heard[1].elements()))


def test_who_leaves_channels_last_is_named_in_both_directions() -> None:
    x = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert not leavers(lambda: (x * 2).sum().backward())
    (who,) = leavers(lambda: (x * 2).contiguous().relu())
    assert who == "aten.clone.default -> 2x3x4x4"
