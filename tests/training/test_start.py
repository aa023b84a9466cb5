"""Runs that begin with another run's weights, people who join, and parts that stay as they are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.conftest import people
from visagist.errors import ConfigError, RunError
from visagist.events import Event, Note, silent
from visagist.training import Crops, Run, TrainOptions, train_crops
from visagist.training.checkpoint import load_tensors
from visagist.training.run import RunRecord

Make = Callable[..., TrainOptions]


@pytest.fixture(scope="module")
def finished(source: Crops, target: Crops, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished")
    train_crops(source, target, run, options(), silent)
    return run


def test_a_person_joins_and_the_others_stay_as_they_are(
    source: Crops, target: Crops, options: Make, finished: Path, tmp_path: Path
) -> None:
    anna, said = people(3), list[Event]()
    joined = options(start=finished, freeze=("encoder", "source", "target"), iterations=6)
    train_crops(source, target, tmp_path, joined, said.append, others={"anna": anna})
    assert any("anna begins as a copy of target" in event.message for event in said if isinstance(event, Note))
    before, after = (load_tensors(run / "weights.safetensors") for run in (finished, tmp_path))
    own = [name for name in after if name.startswith("decoders.2.")]
    assert sorted(set(after) - set(before)) == sorted(own)
    assert all(torch.equal(after[name], before[name]) for name in before)
    changed = [name for name in own if not torch.equal(after[name], before[name.replace("rs.2.", "rs.1.")])]
    assert len(changed) == len(own)
    record = RunRecord.read(tmp_path)
    assert record.beginning is not None
    assert record.beginning.weights_sha256 == Run.open(finished, "cpu").weights_sha256
    assert record.beginning.footage == (*source.footage, *target.footage)


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
    with pytest.raises(ConfigError, match=r"no part 'inter' to freeze \(it has: encoder, decoders, source, target\)"):
        train_crops(source, target, tmp_path / "b", options(freeze=("inter",)), silent)
    with pytest.raises(ConfigError, match="nothing is left to train"):
        train_crops(source, target, tmp_path / "b", options(freeze=("encoder", "source", "target")), silent)
    with pytest.raises(RunError, match="not a run"):
        train_crops(source, target, tmp_path / "c", options(start=tmp_path), silent)
    assert not list(tmp_path.glob("*/run.toml"))
