"""Runs that begin with another run's weights, people who join, and parts that stay as they are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.models.test_models import SMALL
from tests.training.conftest import people
from visagist.core.errors import ConfigError, RunError
from visagist.core.events import Event, Note, silent
from visagist.core.tensors import load_tensors
from visagist.models import ARCHITECTURES, create
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.run import RunRecord
from visagist.training.warm_start import take_over

Make = Callable[..., TrainOptions]


@pytest.fixture(scope="module")
def finished(source: Crops, target: Crops, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished")
    train_crops(source, target, run, options(), silent)
    return run


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_a_person_joins_and_the_others_stay_as_they_are(model: str, options: Make, tmp_path: Path) -> None:
    """df went on to train its inter, liae and amp the decoder that everybody has, and original refused `encoder`."""
    network, size = {"model": model, "settings": SMALL[model]}, SMALL[model]["size"]
    assert isinstance(size, int)
    source, target, anna = (people(seed, 8, size) for seed in (1, 2, 3))
    finished, run, said = tmp_path / "finished", tmp_path / "joined", list[Event]()
    train_crops(source, target, finished, options(iterations=2, **network), silent)
    joined = options(start=finished, freeze=("shared", "source", "target"), iterations=3, **network)
    train_crops(source, target, run, joined, said.append, others={"anna": anna})
    assert any("anna begins as a copy of target" in event.message for event in said if isinstance(event, Note))
    before, after = (load_tensors(folder / "weights.safetensors") for folder in (finished, run))
    part = {"liae": "inters", "amp": "inters", "visage": "bends"}.get(model, "decoders")
    own = [name for name in after if name.startswith(f"{part}.2.")]
    assert sorted(set(after) - set(before)) == sorted(own)
    assert all(torch.equal(after[name], before[name]) for name in before)
    changed = [name for name in own if not torch.equal(after[name], before[name.replace("s.2.", "s.1.", 1)])]
    assert len(changed) == len(own)
    record = RunRecord.read(run)
    assert record.beginning is not None
    assert record.beginning.weights_sha256 == TrainedNetwork.open(finished, "cpu").weights_sha256
    assert record.beginning.footage == (*source.footage, *target.footage)


def test_the_inter_of_all_stays_that_of_all_whoever_comes_first_in_a_new_run() -> None:
    """In liae it has the first person's place, and was taken for the first person's own."""
    known = create("liae", ("source", "target"), **SMALL["liae"])
    network = create("liae", ("anna", "target", "source", "bert"), **SMALL["liae"])
    assert take_over(network, known.state_dict(), known.identities) == ("anna", "bert")
    before, after = known.state_dict(), network.state_dict()
    for place, origin in enumerate([0, 1, 0, 1]):  # the source was drawn from it alone; bert is a copy of the target's
        for name in (name for name in before if name.startswith("inters.1.")):
            rest = name.removeprefix("inters.1.")
            assert torch.equal(after[f"inters.{place}.{rest}"], before[f"inters.{origin}.{rest}"])
    assert network.whose("inters.0.squeeze.bias") is None
    assert network.whose("inters.1.squeeze.bias") == "target"


def test_a_run_that_begins_with_another_is_interrupted_and_ends_alike(
    source: Crops, target: Crops, options: Make, finished: Path, tmp_path: Path
) -> None:
    asked = options(start=finished, freeze=("encoder",), iterations=6)
    train_crops(source, target, tmp_path / "whole", asked, silent)

    def stop(event: Event) -> None:
        if getattr(event, "done", None) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path / "cut", asked, stop)
    train_crops(source, target, tmp_path / "cut", asked, silent)
    whole, cut = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    fresh = options(iterations=6)
    with pytest.raises(RunError, match=r"--start was .*finished"):
        train_crops(source, target, tmp_path / "cut", fresh, silent)


def test_killed_before_its_first_save_a_run_goes_on_although_what_it_began_with_has_been_trained_on(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    """It was refused, though its checkpoint of iteration 0 has all that it began with."""
    first, run = tmp_path / "first", tmp_path / "run"
    train_crops(source, target, first, options(iterations=4), silent)
    asked = options(start=first, iterations=6)
    whole = train_crops(source, target, tmp_path / "whole", asked, silent)

    def kill(event: Event) -> None:
        if getattr(event, "done", None) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_crops(source, target, run, asked, kill)
    train_crops(source, target, first, options(iterations=8), silent)
    went_on = train_crops(source, target, run, asked, silent)
    assert (went_on.resumed_at, went_on.weights_sha256) == (0, whole.weights_sha256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "original", "settings": {"size": 32, "width": 4, "latent": 8}},
            "cannot begin with it; give",
        ),
        ({"coverage": "whole"}, "its faces are 'full', here 'whole'"),
    ],
)
def test_what_cannot_be_begun_with_is_refused(
    source: Crops,
    target: Crops,
    options: Make,
    finished: Path,
    tmp_path: Path,
    changes: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(RunError, match=message):
        train_crops(source, target, tmp_path, options(start=finished, **changes), silent)


def test_settings_of_another_run_and_parts_that_are_none_are_refused(
    source: Crops, target: Crops, options: Make, finished: Path, tmp_path: Path
) -> None:
    other = options(start=finished)
    other = other.model_copy(update={"settings": {**other.settings, "latent": 8}})
    with pytest.raises(RunError, match=r"a run of --settings\.latent 16, here 8"):
        train_crops(source, target, tmp_path / "a", other, silent)
    with pytest.raises(ConfigError, match=r"no part 'inter' .* \(it has: shared, encoder, decoders, source, target\)"):
        train_crops(source, target, tmp_path / "b", options(freeze=("inter",)), silent)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        train_crops(source, target, tmp_path / "b", options(freeze=("shared", "source", "target")), silent)
    with pytest.raises(RunError, match="not a run"):
        train_crops(source, target, tmp_path / "c", options(start=tmp_path), silent)
    assert not list(tmp_path.glob("*/run.toml"))
