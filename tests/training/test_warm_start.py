"""Runs that start from another run's weights, added identities, and frozen parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.models.test_models import SMALL
from tests.training.conftest import blob_crops, ending, weights
from visagist.core.errors import ConfigError, RunError
from visagist.core.events import Event, Note
from visagist.core.tensors import load_tensors
from visagist.models import ARCHITECTURES, configure, create
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.setup import prepare
from visagist.training.warm_start import BASE_FOLDER, take_over

Make = Callable[..., TrainOptions]
People = dict[str, Crops]


@pytest.fixture(scope="module")
def finished(crops: People, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished")
    train_crops(crops, run, options(iterations=4))
    return run


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_an_identity_joins_and_the_others_stay_as_they_are(model: str, options: Make, tmp_path: Path) -> None:
    network, size = {"model": model, "settings": SMALL[model]}, SMALL[model]["size"]
    assert isinstance(size, int)
    crops = {name: blob_crops(seed, 8, size) for seed, name in enumerate(("source", "target", "anna"))}
    two = {name: crops[name] for name in ("source", "target")}
    finished, run, events = tmp_path / "finished", tmp_path / "joined", list[Event]()
    train_crops(two, finished, options(iterations=1, **network))
    joined = options(start=finished, freeze=("shared", "source", "target"), iterations=2, **network)
    train_crops(crops, run, joined, on_event=events.append)
    assert any("anna starts as a copy of target" in event.message for event in events if isinstance(event, Note))
    before, after = (load_tensors(folder / "weights.safetensors") for folder in (finished, run))
    part = {"liae": "inters", "amp": "inters", "visage": "bends"}.get(model, "decoders")
    own = [name for name in after if name.startswith(f"{part}.2.")]
    assert sorted(set(after) - set(before)) == sorted(own)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(torch.equal(after[name], before[name.replace("s.2.", "s.1.", 1)]) for name in own)
    ancestor = TrainedNetwork.open(run, "cpu").record.ancestor
    assert ancestor is not None
    assert ancestor.weights_sha256 == TrainedNetwork.open(finished, "cpu").weights_sha256
    assert ancestor.footage == (*crops["source"].footage, *crops["target"].footage)


def test_the_shared_inter_of_liae_stays_shared_whatever_comes_first_in_a_new_run() -> None:
    """It has the index of the first identity."""
    known = create("liae", ("source", "target"), **SMALL["liae"])
    network = create("liae", ("anna", "target", "source", "bert"), **SMALL["liae"])
    assert take_over(network, known.state_dict(), known.identities) == ("anna", "bert")
    before, after = known.state_dict(), network.state_dict()
    for place, origin in enumerate([0, 1, 0, 1]):  # the source had the shared one alone; bert is a copy of the target
        for name in (name for name in before if name.startswith("inters.1.")):
            rest = name.removeprefix("inters.1.")
            assert torch.equal(after[f"inters.{place}.{rest}"], before[f"inters.{origin}.{rest}"])
    assert network.owner_of("inters.0.squeeze.bias") is None
    assert network.owner_of("inters.1.squeeze.bias") == "target"


def test_a_run_that_starts_from_another_is_interrupted_and_ends_alike(
    crops: People, options: Make, finished: Path, tmp_path: Path
) -> None:
    asked = options(start=finished, freeze=("encoder",), iterations=6)
    train_crops(crops, tmp_path / "whole", asked)
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, tmp_path / "cut", asked, on_event=ending(KeyboardInterrupt, 5))
    train_crops(crops, tmp_path / "cut", asked)
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")
    with pytest.raises(RunError, match=r"--start was .*finished"):
        train_crops(crops, tmp_path / "cut", options(iterations=6))


def test_killed_before_its_first_save_a_run_continues_although_its_start_has_been_trained_on(
    crops: People, options: Make, tmp_path: Path
) -> None:
    """The checkpoint of iteration 0 contains all initial weights."""
    first, run = tmp_path / "first", tmp_path / "run"
    train_crops(crops, first, options(iterations=4))
    asked = options(start=first, iterations=6)
    whole = train_crops(crops, tmp_path / "whole", asked)
    with pytest.raises(ZeroDivisionError):
        train_crops(crops, run, asked, on_event=ending(ZeroDivisionError, 2))
    train_crops(crops, first, options(iterations=5))
    continued = train_crops(crops, run, asked)
    assert (continued.resumed_at, continued.weights_sha256) == (0, whole.weights_sha256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "original", "settings": {"size": 32, "width": 4, "latent": 8}}, "model 'quick'.*--model quick"),
        ({"coverage": "whole"}, "coverage 'full', here 'whole'"),
        ({"settings": {**SMALL["quick"], "latent": 8}}, r"--settings\.latent 16, here 8"),
        ({"start": Path("nowhere")}, "nowhere: no such run"),
        ({"freeze": ("inter",)}, r"no part 'inter' .* \(it has: shared, encoder, decoders, source, target\)"),
        ({"freeze": ("shared", "source", "target")}, "leaves nothing to train"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_run_begins(
    changes: dict[str, object], message: str, crops: People, options: Make, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises((RunError, ConfigError), match=message):
        train_crops(crops, tmp_path, options(**{"start": finished, **changes}))
    assert not (tmp_path / "run.toml").exists()


def test_a_run_starts_from_the_base_by_default(tmp_path: Path) -> None:
    """Every identity starts as a copy of the base's decoder, and the record does not count the base as an identity."""
    crops = {name: blob_crops(seed, 8, 128) for seed, name in enumerate(("source", "target"))}
    base = load_tensors(BASE_FOLDER / "visage-128-full.safetensors")
    events = list[Event]()
    started = prepare(crops, tmp_path, TrainOptions(iterations=1, device="cpu"), events.append, None)
    assert started.record.ancestor is not None
    assert (started.record.ancestor.identities, started.record.ancestor.footage) == (("base",), ())
    for name, weight in started.trainer.network.state_dict().items():
        assert torch.equal(weight, base[name.replace("decoders.1.", "decoders.0.")].float())
    assert any("starts from the base for visage, 128 px, full" in e.message for e in events if isinstance(e, Note))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": "none"}, "starts from random weights"),
        ({"coverage": "whole"}, "no base for visage with these settings, 128 px, whole"),
        ({"settings": {"latent": 64}}, "no base for visage with these settings, 128 px, full"),
        ({"settings": {"size": 32}}, "no base for visage with these settings, 32 px, full"),
        ({"model": "quick", "settings": {"size": 32}}, "no base for quick with these settings, 32 px, full"),
    ],
)
def test_without_a_base_a_run_starts_at_random_and_says_so(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    asked = TrainOptions.model_validate({"iterations": 1, "device": "cpu", **changes})
    crops = {
        name: blob_crops(i, 8, configure(asked.model, asked.settings).size)
        for i, name in enumerate(("source", "target"))
    }
    events = list[Event]()
    started = prepare(crops, tmp_path, asked, events.append, None)
    assert started.record.ancestor is None
    assert any(message in event.message for event in events if isinstance(event, Note))
    torch.manual_seed(asked.seed)
    created = create(asked.model, tuple(crops), **asked.settings).state_dict()
    assert all(torch.equal(weight, created[name]) for name, weight in started.trainer.network.state_dict().items())
