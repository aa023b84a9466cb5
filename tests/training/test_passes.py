"""Blocks that are computed again, and compiled passes: the same network, with less memory or in other time."""

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import torch

from tests.training.conftest import small_options
from visagist.core.device import Compute
from visagist.core.errors import ConfigError
from visagist.core.events import silent
from visagist.models import Quick
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.data.crops import Side
from visagist.training.memory import estimate_memory
from visagist.training.passes import check_compiler
from visagist.training.trainer import Trainer

CPU = torch.device("cpu")
PEOPLE = ("source", "target")
SMALL = {"size": 64, "latent": 16, "encoder": 8, "decoder": 8, "mask": 4}
SETTINGS = {"quick": small_options().settings, "original": {"size": 32, "width": 8, "latent": 16}, "df": SMALL}
SETTINGS |= {"liae": SMALL, "amp": {**SMALL, "inter": 16}, "visage": {**small_options().settings, "rank": 2}}


def trained(dtype: torch.dtype | None = None, **changes: object) -> Trainer:
    """A trainer after two iterations on noise."""
    options = small_options(**changes)
    nobody = cast("dict[str, Side]", dict.fromkeys(PEOPLE))  # batches come from here
    trainer = Trainer(nobody, options, 12, Compute(CPU, dtype, torch.channels_last))
    generator, size = torch.Generator().manual_seed(0), trainer.network.size
    for iteration in range(2):
        truth = torch.rand(options.batch, 5, size, size, generator=generator)
        truth = truth.contiguous(memory_format=torch.channels_last)
        trainer.learn(iteration, truth[:, :3].clone(), truth)
    return trainer


@pytest.mark.parametrize(
    ("model", "dtype"),
    [("quick", None), ("visage", None), ("original", None), ("df", torch.bfloat16), ("liae", None), ("amp", None)],
)
def test_checkpointing_computes_the_same_again(model: str, dtype: torch.dtype | None) -> None:
    """To the bit: the same operations on the same numbers, and what amp draws at random is not drawn again."""
    plain, again = (trained(dtype, model=model, settings=SETTINGS[model], checkpointing=on) for on in (False, True))
    assert all(torch.equal(weight, again.weights[name]) for name, weight in plain.weights.items())


@pytest.mark.parametrize("model", ["df", "quick"])
def test_checkpointing_takes_less_memory(model: str) -> None:
    options = TrainOptions(model=model, settings={"size": 256}, batch=16)
    compute = Compute(CPU, torch.bfloat16, torch.channels_last)
    plain, again = (
        estimate_memory(options.model_copy(update={"checkpointing": on}), PEOPLE, compute, 0) for on in (False, True)
    )
    assert again.step < {"df": 0.65, "quick": 0.9}[model] * plain.step
    assert (again.weights, again.optimizer) == (plain.weights, plain.optimizer)


def test_a_network_without_blocks_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "segments", ())
    with pytest.raises(ConfigError, match="leave --checkpointing away"):
        trained(checkpointing=True)


def test_a_run_goes_on_with_checkpointing_as_without(
    source: Crops, target: Crops, options: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    plan = {"save_every": 2, "schedule": {"decay": "none"}, "augmentation": {"warp": 0}}
    for name, later in (("plain", False), ("mixed", True)):
        train_crops(source, target, tmp_path / name, options(iterations=2, **plan), silent)
        train_crops(source, target, tmp_path / name, options(iterations=4, checkpointing=later, **plan), silent)
    assert len({(tmp_path / name / "weights.safetensors").read_bytes() for name in ("plain", "mixed")}) == 1


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of torch
@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",  # traces both passes and runs what it traced as it is: seconds
        pytest.param(
            "inductor",
            marks=pytest.mark.skipif("VISAGIST_SLOW_TESTS" not in os.environ, reason="compiles C++ for minutes"),
        ),
    ],
)
def test_compiled_passes_draw_the_same(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"model": "visage", "settings": SETTINGS["visage"]}  # with weights that are made anew in each pass
    plain = trained(**network)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    fused = trained(compile=True, **network)
    assert len(fused.passes.made) == 3  # an encoding and two people
    for name, weight in plain.weights.items():
        torch.testing.assert_close(fused.weights[name], weight, rtol=1e-4, atol=1e-5)


def test_compiling_is_refused_where_it_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"C\+\+ compiler \(no-such-compiler is not here\)"):
        trained(compile=True)
    with pytest.raises(ConfigError, match="CPUs and CUDA"):
        check_compiler(Compute(torch.device("mps"), None, torch.contiguous_format))
    if importlib.util.find_spec("triton") is None:
        with pytest.raises(ConfigError, match="needs Triton"):
            check_compiler(Compute(torch.device("cuda"), None, torch.channels_last))
