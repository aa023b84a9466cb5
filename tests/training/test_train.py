"""Whole trainings with a small network: exact continuation, rollback, refusals."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from torch import Tensor

from visagist.core.device import choose
from visagist.core.errors import CollapseError, ConfigError, OutputError, RunError
from visagist.core.events import Event, Metric, Note, Progress, Result, Warned, silent
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, rewind, train_crops
from visagist.training import budget as plan
from visagist.training.checkpoint import checkpoint_iteration
from visagist.training.data.crops import Side
from visagist.training.train import Loop
from visagist.training.trainer import Trainer

Make = Callable[..., TrainOptions]


def same_weights(first: Path, second: Path) -> bool:
    return (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()


def losses(run: Path) -> list[tuple[int, float]]:
    """Iteration and loss of every figure in the run's log."""
    entries = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [(e["iteration"], e["values"]["loss"]) for e in entries if e["event"] == "metric" and e["step"] == "train"]


@pytest.fixture(scope="module")
def unbroken(source: Crops, target: Crops, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 iterations in one go."""
    run = tmp_path_factory.mktemp("unbroken")
    train_crops(source, target, run, options(), silent)
    return run


def test_says_what_it_does_and_leaves_a_whole_run(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    said: list[Event] = []
    summary = train_crops(source, target, tmp_path, options(), said.append, shutil.copyfile)
    assert [event.done for event in said if isinstance(event, Progress)] == list(range(1, 13))
    held_out = [event for event in said if isinstance(event, Metric) and event.step == "held out"]
    assert [event.iteration for event in held_out] == [6, 12]
    assert held_out[-1].values == summary.figures
    assert set(summary.figures) == {"ssim_source", "psnr_source", "ssim_target", "psnr_target", "similarity_source"}
    figures = [event for event in said if isinstance(event, Metric) and event.step == "train"]
    assert figures[-1].values["faces_per_second"] > 0
    assert figures[-1].values["memory_gib"] > 0
    assert figures[-1].values["learning_rate"] < figures[0].values["learning_rate"]
    parts = [figures[-1].values[f"loss_{name}"] for name in ("dssim", "absolute", "edges", "mask")]
    assert sum(parts) == pytest.approx(figures[-1].values["loss"], rel=1e-5)
    assert figures[-1].values["seconds_left"] == 0
    previews = [event.path for event in said if isinstance(event, Result)]
    assert [path.name for path in previews] == ["00000006.png", "00000012.png"]
    assert np.asarray(Image.open(previews[-1])).shape == (16 + 4 * 32, 7 * 32, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint",
        "events.jsonl",
        "previews",
        "run.toml",
        "train.lock",
        "weights.safetensors",
    ]
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == ["00000006.png", "00000012.png"]
    assert (summary.iterations, summary.resumed_at, summary.rollbacks) == (12, 0, 0)


def test_learns(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    train_crops(source, target, tmp_path, options(iterations=150, save_every=150, preview_every=150), silent)
    found = losses(tmp_path)
    assert found[-1][1] < 0.6 * found[0][1]


def test_same_seed_same_weights_and_other_seed_others(
    source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path / "again", options(), silent)
    train_crops(source, target, tmp_path / "other", options(seed=1), silent)
    assert same_weights(tmp_path / "again", unbroken)
    assert not same_weights(tmp_path / "other", unbroken)


def test_how_often_it_saves_and_looks_changes_nothing(
    source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path, options(save_every=5, preview_every=100), silent)
    assert same_weights(tmp_path, unbroken)


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_interrupted_and_continued_ends_like_an_unbroken_run(
    stop: int, source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, options(), interrupt)
    assert TrainedNetwork.open(tmp_path, "cpu").predict(torch.rand(1, 3, 32, 32), "source")[0].shape == (1, 3, 32, 32)
    summary = train_crops(source, target, tmp_path, options(), silent)
    assert summary.resumed_at == stop
    assert same_weights(tmp_path, unbroken)
    assert losses(tmp_path) == losses(unbroken)


class Signalled(Trainer):
    """Gets signals in the middle of its third step, from outside as it were."""

    signals: tuple[int, ...] = ()

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        if iteration == 2:
            for number in self.signals:
                os.kill(os.getpid(), number)
        return super().batch(iteration)


@pytest.fixture
def polite_kill() -> Iterator[None]:
    """SIGTERM as the command line has it before a training."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("polite_kill")
@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGINT,),
        (signal.SIGTERM,),
        (signal.SIGTERM, signal.SIGTERM),  # as `timeout` does
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_ctrl_c_and_sigterm_in_mid_step_are_answered_after_it_with_all_saved(
    signals: tuple[int, ...], source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    trainer = Signalled(both_sides(source, target), options(save_every=100), 12, choose("cpu"))
    trainer.signals = signals
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    said: list[Event] = []
    with pytest.raises(KeyboardInterrupt) as stopped:
        Loop(trainer, tmp_path, options(save_every=100), said.append, None).finish()
    assert not str(stopped.value)  # as all is saved
    notes = [i for i, event in enumerate(said) if isinstance(event, Note)]
    assert "stopping after this iteration" in said[notes[0]].message
    assert [event.done for event in said if isinstance(event, Progress)] == [1, 2, 3]
    assert notes == [2]  # at once: before the iteration had ended
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert train_crops(source, target, tmp_path, options(), silent).resumed_at == 3
    assert same_weights(tmp_path, unbroken)


@pytest.mark.usefixtures("polite_kill")
def test_a_second_sigterm_does_not_break_the_saving(
    source: Crops, target: Crops, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_whole = Loop.save

    def save_slowly(loop: Loop) -> None:
        if loop.iteration:
            os.kill(os.getpid(), signal.SIGTERM)
        save_whole(loop)

    monkeypatch.setattr(Loop, "save", save_slowly)
    trainer = Signalled(both_sides(source, target), options(save_every=100), 12, choose("cpu"))
    trainer.signals = (signal.SIGTERM,)
    with pytest.raises(KeyboardInterrupt):
        Loop(trainer, tmp_path, options(save_every=100), silent, None).finish()
    monkeypatch.undo()
    assert train_crops(source, target, tmp_path, options(), silent).resumed_at == 3


def test_a_second_ctrl_c_does_not_wait(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    trainer = Signalled(both_sides(source, target), options(), 12, choose("cpu"))
    trainer.signals = (signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped at once; the same command continues from the last checkpoint"):
        Loop(trainer, tmp_path, options(), silent, None).finish()
    assert train_crops(source, target, tmp_path, options(), silent).resumed_at == 0


def both_sides(source: Crops, target: Crops) -> dict[str, Side]:
    device = choose("cpu").device
    return {"source": Side(source, 0.2, device), "target": Side(target, 0.2, device)}


KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("people", sys.argv[1])
people = importlib.util.module_from_spec(spec)
spec.loader.exec_module(people)
from visagist.core.events import Progress
from visagist.training import train_crops

def kill(event):
    if isinstance(event, Progress) and event.done == 7:
        os.kill(os.getpid(), signal.SIGKILL)

train_crops(people.people(1), people.people(2), Path(sys.argv[2]), people.small_options(), kill)
"""


def test_killed_and_started_again_ends_like_an_unbroken_run(
    source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    fixtures = Path(__file__).with_name("conftest.py")
    killed = subprocess.run([sys.executable, "-c", KILLED, fixtures, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write('{"event": "metr')  # a torn last line
    assert train_crops(source, target, tmp_path, options(), silent).resumed_at == 4
    assert same_weights(tmp_path, unbroken)
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [line for line in lines if not line.endswith("}")] == ['{"event": "metr']


def test_a_finished_run_is_left_alone(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    first = train_crops(source, target, tmp_path, options(), silent)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.name != "events.jsonl"}
    again = train_crops(source, target, tmp_path, options(), silent)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (again.resumed_at, again.weights_sha256, again.figures) == (12, first.weights_sha256, first.figures)


def kept(run: Path) -> dict[Path, bytes]:
    """What a run is made of, by file; but for its lock."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_finished_run_whose_checkpoint_was_deleted_was_trained_from_0_and_its_weights_were_lost(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_crops(source, target, run, options(), silent)
    shutil.rmtree(run / "checkpoint")
    before = kept(run)
    with pytest.raises(RunError, match=r"checkpoint/ is gone.*merged.*`--start .*run -o ANOTHER`.*another run folder"):
        train_crops(source, target, run, options(), silent)
    with pytest.raises(RunError, match="checkpoint/ is gone"):
        train_crops(source, target, run, options(iterations=24), silent)
    assert kept(run) == before
    train_crops(source, target, tmp_path / "another", options(start=run), silent)


def test_a_run_whose_checkpoint_was_deleted_is_brought_back_from_a_backup(
    source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    asked = options(backup_every=3, backups=2)
    train_crops(source, target, tmp_path, asked, silent)
    shutil.rmtree(tmp_path / "checkpoint")
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"`visagist rewind .* 12` brings back a backup \(there are: 9, 12\)"):
        train_crops(source, target, tmp_path, asked, silent)
    rewind(tmp_path, 9)
    train_crops(source, target, tmp_path, asked, silent)
    assert same_weights(tmp_path, unbroken)


@pytest.mark.parametrize("stop", [7, 12])
def test_weights_that_were_deleted_are_written_again_from_the_checkpoint(
    stop: int, source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    """A finished run without them was a dead end: nothing to be done, and nothing to draw with."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 7 == stop:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        train_crops(source, target, tmp_path, options(), interrupt)
    weights = tmp_path / "weights.safetensors"
    before = weights.read_bytes()
    weights.unlink()

    def crash(event: Event) -> None:
        if isinstance(event, Progress):
            assert weights.read_bytes() == before
            raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        train_crops(source, target, tmp_path, options(), crash)
    assert weights.read_bytes() == before


def test_minutes_become_iterations_once(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    said: list[Event] = []

    def stop(event: Event) -> None:
        said.append(event)
        if isinstance(event, Progress) and event.done == 3:
            raise KeyboardInterrupt

    wanted = options(minutes=0.03)
    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, wanted, stop)
    planned = next(event.total for event in said if isinstance(event, Progress))
    assert planned is not None
    assert any(isinstance(event, Note) and f"{planned} iterations" in event.message for event in said)
    summary = train_crops(source, target, tmp_path, wanted, silent)
    assert (summary.resumed_at, summary.iterations) == (3, planned)


class Poisoned(Trainer):
    """Gets a batch that is not a number at one iteration, in the first `times` attempts."""

    at, times = 6, 1

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        seen, truth = super().batch(iteration)
        return (seen * math.nan, truth) if iteration == self.at and self.attempt < self.times else (seen, truth)


def poisoned(source: Crops, target: Crops, options: TrainOptions, times: int) -> Poisoned:
    compute = choose("cpu")
    sides = [Side(crops, options.held_out, compute.device) for crops in (source, target)]
    trainer = Poisoned(dict(zip(("source", "target"), sides, strict=True)), options, 12, compute)
    trainer.times = times
    return trainer


def test_minutes_know_that_losses_of_the_end_take_time(
    source: Crops, target: Crops, options: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A discriminator made a training take two or three times the minutes that it was given."""
    monkeypatch.setattr(plan, "measured", lambda _, asked, __: 3.0 if asked.losses.finish == 1 else 1.0)
    sides = {"source": Side(source, 0.2, choose("cpu").device), "target": Side(target, 0.2, choose("cpu").device)}

    def planned(**losses: float) -> int:
        return plan.plan_iterations(sides, options(losses=losses), choose("cpu"), silent, 600)

    everything = planned(finish=0.25)
    assert planned(gan=1.0, finish=0.25) == pytest.approx(everything / 1.5, rel=1e-3)
    assert planned(gan=1.0, finish=1.0) == pytest.approx(everything / 3, rel=1e-3)


def test_losses_of_an_end_that_never_comes_are_told(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    def warned(name: str, finish: float) -> list[str]:
        said: list[Event] = []
        asked = options(iterations=4, losses={"face_style": 1.0, "finish": finish})
        train_crops(source, target, tmp_path / name, asked, said.append)
        return [event.message for event in said if isinstance(event, Warned)]

    assert warned("none", 0.2) == [
        "face_style will not act: of 4 iterations the last 0.2 is less than one; give more --losses.finish"
    ]
    assert warned("one", 0.25) == []


def test_nan_goes_back_to_the_last_checkpoint_with_half_the_rate(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    said: list[Event] = []
    trainer = poisoned(source, target, options(), 1)
    summary = Loop(trainer, tmp_path, options(), said.append, None).finish()
    warnings = [event.message for event in said if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "back to iteration 4 with learning rate 0.0005" in warnings[0]
    assert [e.done for e in said if isinstance(e, Progress)] == [1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9, 10, 11, 12]
    assert (summary.rollbacks, trainer.rate) == (1, 0.0005)
    assert all(tensor.isfinite().all() for tensor in trainer.tensors().values())


def test_a_rollback_outlives_a_crash(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    Loop(poisoned(source, target, options(), 1), tmp_path / "unbroken", options(), silent, None).finish()

    def crash(event: Event) -> None:
        if isinstance(event, Warned):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Loop(poisoned(source, target, options(), 1), tmp_path / "crashed", options(), crash, None).finish()
    trainer = poisoned(source, target, options(), 1)
    summary = Loop(trainer, tmp_path / "crashed", options(), silent, None).finish()
    assert (summary.resumed_at, summary.rollbacks, trainer.rate) == (4, 1, 0.0005)
    assert same_weights(tmp_path / "crashed", tmp_path / "unbroken")


def test_training_that_keeps_going_wrong_ends_with_an_explanation(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    said: list[Event] = []
    asked = options(save_every=2)
    words = r"went wrong 4 times, last at iteration 7: the loss is not a number\. The weights of iteration 4 are kept"
    with pytest.raises(CollapseError, match=words):
        Loop(poisoned(source, target, asked, 9), tmp_path, asked, said.append, None).finish()
    back = [event.message.partition(" with")[0] for event in said if isinstance(event, Warned)]
    assert [message.rpartition(" ")[2] for message in back] == ["6", "4", "6"]
    with safetensors.safe_open(tmp_path / "weights.safetensors", "pt") as weights:
        assert json.loads(weights.metadata()["visagist"])["iteration"] == 4
    assert checkpoint_iteration(tmp_path / "checkpoint") == 4


def test_other_crops_are_refused(source: Crops, target: Crops, options: Make, unbroken: Path) -> None:
    with pytest.raises(RunError, match="another source faceset"):
        train_crops(target, target, unbroken, options(), silent)


def test_other_options_are_refused_with_what_changed(
    source: Crops, target: Crops, options: Make, unbroken: Path
) -> None:
    with pytest.raises(RunError, match="batch was 4, now 6"):
        train_crops(source, target, unbroken, options(batch=6), silent)


def test_crops_of_another_size_are_refused(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="40 px, model 'quick' takes 48"):
        train_crops(source, target, tmp_path, options(margin=1.5), silent)


def test_run_of_another_format_is_refused(
    source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    record = (unbroken / "run.toml").read_text()
    (tmp_path / "run.toml").write_text(record.replace("format = 1", "format = 2"))
    with pytest.raises(RunError, match="run format 2"):
        train_crops(source, target, tmp_path, options(), silent)
    with pytest.raises(RunError, match="run format 2"):
        TrainedNetwork.open(tmp_path)


def test_run_that_cannot_be_written_is_said(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        train_crops(source, target, tmp_path / "file" / "run", options(), silent)


def test_run_draws_with_the_averaged_weights_and_knows_its_people(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    trainer = poisoned(source, target, options(), 0)
    Loop(trainer, tmp_path, options(), silent, None).finish()
    train_crops(source, target, tmp_path / "run", options(), silent)
    run = TrainedNetwork.open(tmp_path / "run", "cpu")
    faces = torch.rand(2, 3, 32, 32)
    rgb, mask = run.predict(faces, "source")
    expected, _ = trainer.predict(faces, "source")
    torch.testing.assert_close(rgb, expected)
    assert mask.shape == (2, 1, 32, 32)
    assert run.identities == ("source", "target")
    assert (run.coverage, run.size) == ("full", 32)
    assert run.origins["source"].footage == source.footage
    assert run.origins["target"].footage == target.footage
    assert run.origins["source"].centroid == source.centroid
    assert len(run.weights_sha256) == 64
    with pytest.raises(RunError, match="32, 32"):
        run.predict(torch.rand(1, 3, 64, 64), "source")
    with pytest.raises(ConfigError, match="source, target"):
        run.predict(faces, "nobody")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        TrainedNetwork.open(tmp_path)


def test_iterations_and_minutes_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        TrainOptions.parse({"iterations": 5, "minutes": 1.0}, "options")
