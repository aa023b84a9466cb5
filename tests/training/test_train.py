"""Complete trainings of a small network: output, exact resume, and errors."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.training.conftest import contents, ending, killed_at_each_change, weights
from visagist.core.device import select_device
from visagist.core.errors import ConfigError, OutputError, RunError
from visagist.core.events import Event, Metric, Note, Progress, Result, Warned
from visagist.core.tensors import load_tensors, save_tensors
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, budget, rewind, train_crops
from visagist.training.data import IdentityDataset
from visagist.training.run import run_lock
from visagist.training.trainer import Trainer
from visagist.training.training_run import TrainingRun

Make = Callable[..., TrainOptions]
People = dict[str, Crops]

EVERYTHING = {  # everything with its own state
    "losses": {"gan": 0.1, "gan_dims": 4, "gan_noise": 0.1, "true_face": 0.01, "face_style": 1.0},
    "optimizer": {"lr_dropout": 0.3, "accumulate": 2},
    "batch": 6,
}


def losses(run: Path) -> list[tuple[int, float]]:
    """Iteration and loss of every training metric in the run's log."""
    entries = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [(e["iteration"], e["values"]["loss"]) for e in entries if e["event"] == "metric" and e["step"] == "train"]


def validated(events: list[Event]) -> list[int]:
    return [event.iteration for event in events if isinstance(event, Metric) and event.step == "validation"]


@pytest.fixture(scope="module")
def unbroken(crops: People, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 12 iterations."""
    run = tmp_path_factory.mktemp("unbroken")
    train_crops(crops, run, options())
    return run


def test_training_emits_events_and_leaves_a_whole_run(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    events: list[Event] = []
    crops = {"source": source, "target": target}
    run = train_crops(crops, tmp_path, options(), on_event=events.append, sign=bytes)
    assert [event.done for event in events if isinstance(event, Progress)] == list(range(1, 13))
    assert validated(events) == [6, 12]
    measured = [event.values for event in events if isinstance(event, Metric)]
    assert measured[-1] == run.metrics
    assert {"ssim_source", "psnr_target", "variation_target", "similarity_source"} < set(run.metrics)
    first, last = (values for values in measured if "loss" in values)
    assert last["faces_per_second"] > 0
    assert last["learning_rate"] < first["learning_rate"]
    parts = [last[f"loss_{name}"] for name in ("dssim", "absolute", "edges", "mask")]
    assert sum(parts) == pytest.approx(last["loss"], rel=1e-5)
    assert last["seconds_left"] == 0
    previews = [event.path for event in events if isinstance(event, Result)]
    assert [path.name for path in previews] == ["00000006.png", "00000012.png"]
    assert np.asarray(Image.open(previews[-1])).shape == (16 + 4 * 32, 7 * 32, 3)
    assert {str(path) for path in contents(tmp_path)} == {
        "run.toml",
        "weights.safetensors",
        "checkpoints/state.json",
        "checkpoints/00000008.safetensors",
        "checkpoints/00000012.safetensors",
        "previews/00000006.png",
        "previews/00000012.png",
    }
    assert (run.path, run.iterations, run.resumed_at, run.rollbacks) == (tmp_path, 12, 0, 0)


def test_every_preview_is_signed_and_without_a_signature_there_is_none(
    crops: People, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    assert not (unbroken / "previews").exists()
    signed: list[bytes] = []

    def sign(unsigned: bytes) -> bytes:
        signed.append(unsigned)
        if len(signed) == 2:
            raise OutputError("no key")
        return b"signed"

    with pytest.raises(OutputError, match="no key"):
        train_crops(crops, tmp_path, options(), sign=sign)
    assert [path.read_bytes() for path in (tmp_path / "previews").iterdir()] == [b"signed"]
    assert all(picture.startswith(b"\x89PNG") for picture in signed)


def test_training_learns(crops: People, options: Make, tmp_path: Path) -> None:
    train_crops(crops, tmp_path, options(iterations=150, save_every=150, preview_every=150))
    found = losses(tmp_path)
    assert found[-1][1] < 0.6 * found[0][1]


def test_weights_depend_on_the_seed_and_not_on_how_often_a_run_is_saved_or_validated(
    crops: People, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    train_crops(crops, tmp_path / "often", options(save_every=1, preview_every=100, backup_every=2))
    train_crops(crops, tmp_path / "seed", options(seed=1))
    assert weights(tmp_path / "often") == weights(unbroken) != weights(tmp_path / "seed")


@pytest.mark.parametrize(("stop", "changes"), [(1, {}), (4, {}), (7, {}), (11, {}), (9, EVERYTHING)])
def test_interrupted_and_continued_ends_like_an_unbroken_run(
    stop: int,
    changes: dict[str, object],
    crops: People,
    options: Make,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = options(**changes)
    monkeypatch.setattr("visagist.training.setup.check_memory", lambda *_: "")  # slow for so many losses
    if changes:
        unbroken = tmp_path / "unbroken"
        train_crops(crops, unbroken, asked)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, run, asked, on_event=ending(KeyboardInterrupt, stop))
    assert TrainedNetwork.open(run, "cpu").record.iteration == stop
    assert train_crops(crops, run, asked).resumed_at == stop
    assert weights(run) == weights(unbroken)
    assert losses(run) == losses(unbroken)


def test_killed_before_any_write_and_started_again_ends_like_an_unbroken_run(
    crops: People, options: Make, tmp_path: Path
) -> None:
    """Including the first save and deletions of older checkpoints."""

    def train(run: Path) -> None:
        train_crops(crops, run, options(iterations=6, save_every=3), sign=bytes)

    killed, whole = killed_at_each_change(None, tmp_path, train)
    assert len(killed) >= 12  # the record; tensors and state of 0, 3, 4 and 6; weights of 3, 4 and 6
    for run in killed:
        train(run)
        assert contents(whole) == contents(run)


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

crops = {"source": people.blob_crops(1), "target": people.blob_crops(2)}
train_crops(crops, Path(sys.argv[2]), people.small_options(), on_event=kill)
"""


def test_a_killed_process_leaves_a_run_that_continues_exactly(
    source: Crops, target: Crops, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    fixtures = Path(__file__).with_name("conftest.py")
    killed = subprocess.run([sys.executable, "-c", KILLED, fixtures, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write('{"event": "metr')  # a torn last line
    assert train_crops({"source": source, "target": target}, tmp_path, options()).resumed_at == 4
    assert (
        load_tensors(tmp_path / "weights.safetensors").keys() == load_tensors(unbroken / "weights.safetensors").keys()
    )
    for name, tensor in load_tensors(unbroken / "weights.safetensors").items():
        assert torch.equal(tensor, load_tensors(tmp_path / "weights.safetensors")[name])
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [line for line in lines if not line.endswith("}")] == ['{"event": "metr']


class Signalled(Trainer):
    """Receives signals during its third step."""

    signals: tuple[int, ...] = ()

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        if iteration == 2:
            for number in self.signals:
                os.kill(os.getpid(), number)
        return super().batch(iteration)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Signals for a training, with the command line's handler of SIGTERM."""

    def send(*numbers: int) -> None:
        monkeypatch.setattr("visagist.training.setup.Trainer", Signalled)
        monkeypatch.setattr(Signalled, "signals", numbers)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield send
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "sent",
    [
        (signal.SIGINT,),
        (signal.SIGTERM,),
        (signal.SIGTERM, signal.SIGTERM),  # as `timeout` does
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_signals_are_answered_after_the_iteration_with_everything_saved(
    sent: tuple[int, ...],
    crops: People,
    options: Make,
    unbroken: Path,
    tmp_path: Path,
    signals: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signals(*sent)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt) as stopped:
        train_crops(crops, tmp_path, options(save_every=100), on_event=events.append)
    assert not str(stopped.value)  # nothing was lost
    kinds = [type(event) for event in events if not isinstance(event, Metric)][-4:]
    assert kinds == [Progress, Progress, Note, Progress]  # announced before the end of the third iteration
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    monkeypatch.undo()
    assert train_crops(crops, tmp_path, options()).resumed_at == 3
    assert weights(tmp_path) == weights(unbroken)


def test_a_second_sigterm_does_not_break_the_save(
    crops: People, options: Make, tmp_path: Path, signals: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = TrainingRun.save_interrupted

    def save_slowly(run: TrainingRun) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(run)

    signals(signal.SIGTERM)
    monkeypatch.setattr(TrainingRun, "save_interrupted", save_slowly)
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, tmp_path, options(save_every=100))
    monkeypatch.undo()
    assert train_crops(crops, tmp_path, options()).resumed_at == 3


def test_a_second_ctrl_c_does_not_wait(
    crops: People, options: Make, tmp_path: Path, signals: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    signals(signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped at once; the same command continues from the last checkpoint"):
        train_crops(crops, tmp_path, options())
    monkeypatch.undo()
    assert train_crops(crops, tmp_path, options()).resumed_at == 0


def test_a_finished_run_is_left_alone(crops: People, options: Make, tmp_path: Path) -> None:
    first = train_crops(crops, tmp_path, options())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.name != "events.jsonl"}
    again = train_crops(crops, tmp_path, options())
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (again.resumed_at, again.weights_sha256, again.metrics) == (12, first.weights_sha256, first.metrics)


def test_a_trained_run_without_its_checkpoints_is_not_trained_from_0(
    crops: People, options: Make, unbroken: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(unbroken, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    before = contents(run)
    for asked in (options(), options(iterations=24)):
        with pytest.raises(RunError, match=r"merged, and `--start .*run -o ANOTHER`"):
            train_crops(crops, run, asked)
    assert contents(run) == before

    stateless = shutil.copytree(unbroken, tmp_path / "stateless")
    (stateless / "checkpoints" / "state.json").unlink()
    (stateless / "weights.safetensors").unlink()
    with pytest.raises(RunError, match=r"`visagist rewind .* 12` .*\(available: 8, 12\)"):
        train_crops(crops, stateless, options())
    rewind(stateless, 8)
    train_crops(crops, stateless, options())
    assert weights(stateless) == weights(unbroken)


@pytest.mark.parametrize("stop", [7, 12])
def test_weights_that_were_deleted_are_written_again_from_the_checkpoint(
    stop: int, crops: People, options: Make, tmp_path: Path
) -> None:
    with suppress(KeyboardInterrupt):
        train_crops(crops, tmp_path, options(), on_event=ending(KeyboardInterrupt, stop))
    before = weights(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with suppress(ZeroDivisionError):
        train_crops(crops, tmp_path, options(), on_event=ending(ZeroDivisionError, 8))
    assert weights(tmp_path) == before


def test_two_trainings_in_one_folder_are_refused(crops: People, options: Make, unbroken: Path) -> None:
    with run_lock(unbroken), pytest.raises(RunError, match="another training is using this folder"):
        train_crops(crops, unbroken, options())


def datasets(crops: Mapping[str, Crops]) -> dict[str, IdentityDataset]:
    return {name: IdentityDataset(each, 0.2, select_device("cpu").device) for name, each in crops.items()}


def test_minutes_become_iterations_once(crops: People, options: Make, tmp_path: Path) -> None:
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        ending(KeyboardInterrupt, 3)(event)

    asked = options(minutes=0.03)
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, tmp_path, asked, on_event=stop)
    planned = next(event.total for event in events if isinstance(event, Progress))
    assert any(isinstance(event, Note) and f"{planned} iterations" in event.message for event in events)
    run = train_crops(crops, tmp_path, asked)
    assert (run.resumed_at, run.iterations) == (3, planned)


def test_minutes_account_for_the_time_of_finishing_losses(
    crops: People, options: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_measured", lambda *given: 3.0 if given[-1] is budget.COOLING else 1.0)

    def planned(gan: float, cool_down: float) -> int:
        asked = options(losses={"gan": gan}, schedule={"cool_down": cool_down})
        return budget.plan_iterations(datasets(crops), asked, select_device("cpu"), lambda _: None, 600)

    everything = planned(0, 0.25)
    assert planned(1, 0.25) == pytest.approx(everything / 1.5, rel=1e-3)
    assert planned(1, 1) == pytest.approx(everything / 3, rel=1e-3)


def test_a_learning_rate_is_found_once(crops: People, options: Make, tmp_path: Path) -> None:
    def trained(iterations: int) -> tuple[set[float], int]:
        events: list[Event] = []
        asked = options(find_rate=True, iterations=iterations, schedule={"cool_down": 0.0, "warm_up": 0})
        train_crops(crops, tmp_path, asked, on_event=events.append)
        rates = {
            event.values["learning_rate"] for event in events if isinstance(event, Metric) and event.step == "train"
        }
        return rates, sum("suggested:" in event.message for event in events if isinstance(event, Note))

    (first, suggestions), (again, none) = trained(4), trained(6)
    assert (suggestions, none) == (1, 0)
    assert first == again
    assert 1e-6 < first.pop() < 0.1


def test_running_out_of_memory_keeps_the_checkpoint(
    crops: People, options: Make, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def fail(self: Trainer, iteration: int) -> Tensor:
        if iteration == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return step(self, iteration)

    monkeypatch.setattr(Trainer, "step", fail)
    with pytest.raises(ConfigError, match="cpu ran out of memory"):
        train_crops(crops, tmp_path, options())
    monkeypatch.undo()
    assert train_crops(crops, tmp_path, options()).resumed_at == 4
    assert weights(tmp_path) == weights(unbroken)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch": 6}, "--batch was 4, now 6"),
        ({"seed": 3}, "--seed was 0, now 3"),
        ({"coverage": "head"}, "--coverage was full, now head"),
        ({"learning_rate": 0.5}, "--learning-rate was 0.001, now 0.5"),
        ({"augmentation": {"warp": 0.1}}, "--augmentation.warp was 0.014, now 0.1"),
        ({"schedule": {"warm_up": 1, "cool_down": 0.5}}, "--schedule.cool-down was 0.3, now 0.5"),
        ({"model": "original", "settings": {"size": 32}}, r"options \(--model was quick, now original\)"),
    ],
)
@pytest.mark.parametrize("length", [12, 30])
def test_options_that_make_another_network_are_refused_by_name(
    length: int, changes: dict[str, object], named: str, crops: People, options: Make, unbroken: Path
) -> None:
    before = contents(unbroken)
    with pytest.raises(RunError, match=f"{named}.*another run folder"):
        train_crops(crops, unbroken, options(iterations=length, **changes))
    assert contents(unbroken) == before


def test_an_explicit_default_is_the_same_option(crops: People, options: Make, unbroken: Path) -> None:
    settings = {**options().settings, "encoder": (8, 16, 16)}
    asked = options(learning_rate=0.001, settings=settings, device="auto", save_every=7)
    assert train_crops(crops, unbroken, asked).resumed_at == 12


def test_other_crops_are_refused(crops: People, options: Make, unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="another source faceset"):
        train_crops({"source": crops["target"], "target": crops["target"]}, unbroken, options())
    with pytest.raises(RunError, match="40 px, model 'quick' takes 48"):
        train_crops(crops, tmp_path, options(margin=1.5))


def test_runs_of_the_previous_format_are_refused(crops: People, options: Make, unbroken: Path, tmp_path: Path) -> None:
    run = shutil.copytree(unbroken, tmp_path / "run")
    record = (run / "run.toml").read_text()
    (run / "run.toml").write_text(record.replace("format = 2", "format = 1"))
    with pytest.raises(RunError, match=r"run\.toml: run format 1, this visagist reads 2"):
        train_crops(crops, run, options())
    with pytest.raises(RunError, match="run format 1"):
        rewind(run)
    (run / "run.toml").write_text(record)
    save_tensors(run / "weights.safetensors", load_tensors(unbroken / "weights.safetensors"), {"model": "quick"})
    for act in (lambda: TrainedNetwork.open(run), lambda: train_crops(crops, tmp_path / "new", options(start=run))):
        with pytest.raises(RunError, match=r"weights\.safetensors: .*format 1.* reads 3"):
            act()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_refused_training_leaves_nothing(is_there: bool, crops: People, options: Make, tmp_path: Path) -> None:
    if is_there:
        (tmp_path / "runs" / "run").mkdir(parents=True)
    with pytest.raises(ConfigError):
        train_crops(crops, tmp_path / "runs" / "run", options(freeze=("nose",)))
    assert (tmp_path / "runs").exists() == is_there
    train_crops(crops, tmp_path / "runs" / "run", options(iterations=1))


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_that_cannot_be_written_is_an_output_error(
    place: str, crops: People, options: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file"):
        train_crops(crops, tmp_path / place, options())
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_predicts_with_the_averaged_weights(
    source: Crops, target: Crops, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Trainer] = []
    begin = Trainer.begin
    monkeypatch.setattr(Trainer, "begin", lambda trainer: (trainers.append(trainer), begin(trainer)))
    train_crops({"source": source, "target": target}, tmp_path, options(iterations=5))
    network, faces = TrainedNetwork.open(tmp_path, "cpu"), torch.rand(2, 3, 32, 32)
    rgb, mask = network.predict(faces, "source")
    torch.testing.assert_close(rgb, trainers[-1].predict(faces, "source")[0])
    assert mask.shape == (2, 1, 32, 32)
    assert (network.identities, network.coverage, network.size) == (("source", "target"), "full", 32)
    for name, crops in (("source", source), ("target", target)):
        assert network.origins[name].footage == crops.footage
        assert network.origins[name].centroid == crops.centroid
    with pytest.raises(RunError, match="32, 32"):
        network.predict(torch.rand(1, 3, 64, 64), "source")
    with pytest.raises(ConfigError, match="source, target"):
        network.predict(faces, "unknown")


@pytest.mark.parametrize(("cool_down", "warned"), [(0.0, True), (0.5, False)])
def test_finishing_losses_without_effect_give_a_warning(
    crops: People, options: Make, tmp_path: Path, cool_down: float, warned: bool
) -> None:
    events: list[Event] = []
    asked = options(iterations=2, schedule={"cool_down": cool_down}, losses={"background_style": 1.0})
    train_crops(crops, tmp_path, asked, on_event=events.append)
    said = [event.message for event in events if isinstance(event, Warned)]
    assert any("background_style" in message for message in said) == warned


def test_iterations_are_reported_as_time_once_measured(crops: People, options: Make, tmp_path: Path) -> None:
    events: list[Event] = []
    train_crops(crops, tmp_path, options(iterations=30, preview_every=30), on_event=events.append)
    said = [event.message for event in events if isinstance(event, Note) and "iterations take about" in event.message]
    assert len(said) == 1
    assert re.search(r"cpu, .* faces/s, so 18 iterations take about [\d.]+ \w+s", said[0])
