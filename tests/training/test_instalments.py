"""Runs that are trained in instalments: asked for more, for less, for something else, and killed on the way."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import CLIPS, SMALL, visagist
from visagist.core.errors import RunError
from visagist.core.events import Event, Metric, Note, Progress, Warned, silent
from visagist.core.settings import read_toml
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.checkpoint import load_checkpoint

Make = Callable[..., TrainOptions]
FULL_RATE = 1e-3  # of the model `quick`


def weights(run: Path) -> bytes:
    return (run / "weights.safetensors").read_bytes()


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Time of change and contents of every file that holds a result; the log may grow."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "events.jsonl"]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def stopping(done: int) -> Callable[[Event], None]:
    """EventCallback that answer an iteration with Ctrl-C."""

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == done:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def twice(source: Crops, target: Crops, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 iterations that was asked for 24 when it was finished."""
    run = tmp_path_factory.mktemp("twice")
    train_crops(source, target, run, options(), silent)
    train_crops(source, target, run, options(iterations=24), silent)
    return run


def test_what_face_style_keeps_is_that_of_a_longer_training(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    """Where the old end lay in the new one, too, it stayed that of the middle of the old training."""

    def kept(iterations: int) -> torch.Tensor:
        asked = options(iterations=iterations, losses={"face_style": 1.0, "finish": 0.5})
        train_crops(source, target, tmp_path, asked, silent)
        latest = load_checkpoint(tmp_path / "checkpoint")
        assert latest is not None
        return torch.cat([tensor.flatten() for name, tensor in latest.tensors.items() if name.startswith("known/")])

    assert not torch.equal(kept(12), kept(24))


def test_more_iterations_train_on_by_the_schedules_of_the_new_length(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    first = train_crops(source, target, tmp_path, options(), silent)
    said: list[Event] = []
    second = train_crops(source, target, tmp_path, options(iterations=24), said.append)
    assert [(e.done, e.total) for e in said if isinstance(e, Progress)] == [(i, 24) for i in range(13, 25)]
    assert (second.resumed_at, second.iterations) == (12, 24)
    assert second.weights_sha256 != first.weights_sha256
    rate = 0.5 + 0.5 * math.cos(math.pi * (12 - 3) / (24 - 3))  # after a warm-up of 24 // 10 + 1
    (note,) = [e.message for e in said if isinstance(e, Note)]
    assert f"from 0% to {rate:.0%} of {FULL_RATE:g}" in note
    assert "random warp from 0% to 100%" in note
    logged = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert note in [entry.get("message") for entry in logged]
    before = files(tmp_path)
    again = train_crops(source, target, tmp_path, options(iterations=24), silent)
    assert files(tmp_path) == before
    assert (again.resumed_at, again.iterations, again.figures) == (24, 24, second.figures)


@pytest.mark.parametrize("stop", [13, 16, 18, 23])
def test_an_interrupted_instalment_ends_like_an_unbroken_one(
    stop: int, source: Crops, target: Crops, options: Make, twice: Path, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path, options(), silent)
    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, options(iterations=24), stopping(stop))
    assert train_crops(source, target, tmp_path, options(iterations=24), silent).resumed_at == stop
    assert weights(tmp_path) == weights(twice)


KILLED = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("people", sys.argv[1])
people = importlib.util.module_from_spec(spec)
spec.loader.exec_module(people)
from visagist.core.events import Note, Progress
from visagist.training import train_crops

def kill(event):
    if isinstance(event, Note) if sys.argv[3] == "note" else isinstance(event, Progress) and event.done == 18:
        os.kill(os.getpid(), signal.SIGKILL)

run = Path(sys.argv[2])
train_crops(people.people(1), people.people(2), run, people.small_options(iterations=24), kill)
"""


@pytest.mark.parametrize(("moment", "resumed_at"), [("note", 12), ("iteration 18", 16)])
def test_a_killed_instalment_ends_like_an_unbroken_one(
    moment: str, resumed_at: int, source: Crops, target: Crops, options: Make, twice: Path, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path, options(), silent)
    finished = weights(tmp_path)
    fixtures = Path(__file__).with_name("conftest.py")
    killed = subprocess.run([sys.executable, "-c", KILLED, fixtures, tmp_path, moment], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (weights(tmp_path) == finished) == (resumed_at == 12)  # those of the latest checkpoint
    TrainedNetwork.open(tmp_path, "cpu").predict(torch.rand(1, 3, 32, 32), "source")
    assert train_crops(source, target, tmp_path, options(iterations=24), silent).resumed_at == resumed_at
    assert weights(tmp_path) == weights(twice)


def test_an_unfinished_run_can_be_asked_for_more(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, options(), stopping(7))
    summary = train_crops(source, target, tmp_path, options(iterations=24), silent)
    assert (summary.resumed_at, summary.iterations) == (7, 24)
    assert read_toml(tmp_path / "run.toml")["instalments"] == [{"iterations": 12, "until": 7}]


def test_an_unfinished_run_can_be_asked_to_end_sooner(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, options(), stopping(7))
    summary = train_crops(source, target, tmp_path, options(iterations=9), silent)
    assert (summary.resumed_at, summary.iterations) == (7, 9)


def test_a_run_that_crashed_and_ends_at_its_checkpoint_has_weights(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    def crash(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 6:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_crops(source, target, tmp_path, options(), crash)
    (tmp_path / "weights.safetensors").unlink()  # as in a run of before they were written with every checkpoint
    assert train_crops(source, target, tmp_path, options(iterations=4), silent).iterations == 4
    with torch.inference_mode():
        TrainedNetwork.open(tmp_path, "cpu").predict(torch.rand(1, 3, 32, 32), "source")


def test_fewer_iterations_than_are_done_are_refused_and_nothing_is_lost(
    source: Crops, target: Crops, options: Make, twice: Path
) -> None:
    before = files(twice)
    with pytest.raises(RunError, match="24 iterations are done, more than --iterations 23"):
        train_crops(source, target, twice, options(iterations=23), silent)
    assert files(twice) == before


def test_a_length_that_was_asked_for_by_mistake_can_be_taken_back(
    source: Crops, target: Crops, options: Make, twice: Path, tmp_path: Path
) -> None:
    def crash(event: Event) -> None:
        raise ZeroDivisionError

    train_crops(source, target, tmp_path, options(), silent)
    before = files(tmp_path)
    with pytest.raises(ZeroDivisionError):
        train_crops(source, target, tmp_path, options(iterations=10**6), crash)
    assert read_toml(tmp_path / "run.toml")["iterations"] == 10**6
    assert train_crops(source, target, tmp_path, options(), silent).iterations == 12
    assert {path: text for path, (_, text) in files(tmp_path).items()} == {p: text for p, (_, text) in before.items()}
    train_crops(source, target, tmp_path, options(iterations=24), silent)
    assert weights(tmp_path) == weights(twice)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, "--seed was 0, now 3"),
        ({"held_out": 0.3}, "--held-out was 0.2, now 0.3"),
        ({"coverage": "head"}, "--coverage was full, now head"),
        ({"learning_rate": 0.5}, f"--learning-rate was {FULL_RATE}, now 0.5"),
        ({"augmentation": {"warp": 0.1}}, "--augmentation.warp was 0.014, now 0.1"),
        ({"model": "original", "settings": {"size": 32}}, r"options \(--model was quick, now original\)"),
    ],
)
def test_what_makes_another_network_is_refused_by_name(
    changes: dict[str, object], words: str, source: Crops, target: Crops, options: Make, twice: Path
) -> None:
    before = files(twice)
    with pytest.raises(RunError, match=f"{words}.*another run folder"):
        train_crops(source, target, twice, options(iterations=30, **changes), silent)
    assert files(twice) == before


def test_a_default_that_is_spelled_out_is_the_same_option(
    source: Crops, target: Crops, options: Make, twice: Path
) -> None:
    settings = {**options().settings, "encoder": (8, 16, 16)}
    spelled_out = options(iterations=24, learning_rate=FULL_RATE, settings=settings)
    assert train_crops(source, target, twice, spelled_out, silent).resumed_at == 24


def test_how_often_a_run_is_saved_and_looked_at_may_change_on_the_way(
    source: Crops, target: Crops, options: Make, twice: Path, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path, options(), silent)
    other = options(iterations=24, save_every=5, preview_every=7, device="auto")
    said: list[Event] = []
    train_crops(source, target, tmp_path, other, said.append)
    assert [e.iteration for e in said if isinstance(e, Metric) and e.step == "held out"] == [14, 21, 24]
    if not torch.cuda.is_available():
        assert weights(tmp_path) == weights(twice)


def test_without_a_length_a_run_keeps_the_one_it_has(
    source: Crops, target: Crops, options: Make, twice: Path, tmp_path: Path
) -> None:
    lengthless = options(iterations=None)
    assert train_crops(source, target, twice, lengthless, silent).resumed_at == 24
    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, options(), stopping(7))
    assert train_crops(source, target, tmp_path, lengthless, silent).iterations == 12


def test_minutes_are_those_of_the_run_in_all(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    first = train_crops(source, target, tmp_path, options(minutes=0.02), silent)
    again = train_crops(source, target, tmp_path, options(minutes=0.02), silent)
    assert again.resumed_at == again.iterations == first.iterations
    more = train_crops(source, target, tmp_path, options(minutes=0.04), silent)
    assert more.resumed_at == first.iterations < more.iterations
    with pytest.raises(RunError, match=r"more than --minutes 0\.01"):
        train_crops(source, target, tmp_path, options(minutes=0.01), silent)
    on = train_crops(source, target, tmp_path, options(iterations=more.iterations + 2), silent)
    assert on.iterations == more.iterations + 2
    with pytest.raises(RunError, match=r"more than --minutes 0\.0001"):  # measured: the run was counted in iterations
        train_crops(source, target, tmp_path, options(minutes=0.0001), silent)


def low_mean(run: Path) -> None:
    """Let the guard remember losses far below what the run's are."""
    latest = run / "checkpoint" / "latest.json"
    entry = json.loads(latest.read_text())
    entry["numbers"] |= {"guard_mean": 1e-6, "guard_seen": 200}
    entry["before"] = []  # which has no such memory
    latest.write_text(json.dumps(entry))


def test_losses_that_the_returning_warp_raises_are_not_taken_for_a_collapse(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path / "finished", options(), silent)
    low_mean(tmp_path / "finished")
    said: list[Event] = []
    train_crops(source, target, tmp_path / "finished", options(iterations=24), said.append)
    assert not [event for event in said if isinstance(event, Warned)]

    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path / "unfinished", options(), stopping(4))
    low_mean(tmp_path / "unfinished")  # the same memory counts where the plan stays
    with pytest.raises(RunError, match="went wrong"):
        train_crops(source, target, tmp_path / "unfinished", options(), said.append)
    assert [event for event in said if isinstance(event, Warned)]


def test_a_record_from_before_there_were_instalments_is_read(
    source: Crops, target: Crops, options: Make, twice: Path, tmp_path: Path
) -> None:
    train_crops(source, target, tmp_path, options(), silent)
    record = tmp_path / "run.toml"
    record.write_text(record.read_text().replace("instalments = []\n", ""))
    assert "instalments" not in record.read_text()
    train_crops(source, target, tmp_path, options(iterations=24), silent)
    assert weights(tmp_path) == weights(twice)


def test_a_swap_is_trained_on_by_the_command_line_and_merged_anew(tmp_path: Path) -> None:
    footage, output, run = tmp_path / "clips", tmp_path / "out.mp4", tmp_path / "out.mp4.workspace" / "run"
    footage.mkdir()
    (footage / CLIPS[0]).symlink_to(SOURCE / CLIPS[0])
    swap = ("swap", footage, TARGET, "-o", output, "--source-consent", SOURCE_CONSENT,
            "--target-consent", TARGET_CONSENT, "--frames", "0-1", "--batch", "4", *SMALL)  # fmt: skip

    ended = visagist(*swap, "--iterations", "4")
    assert ended.code == 0, ended.err
    first = json.loads((tmp_path / "out.mp4.json").read_text())["key"]
    ended = visagist(*swap, "--iterations", "8")
    assert ended.code == 0, ended.err
    assert "from iteration 4 to 8" in ended.err
    second = json.loads((tmp_path / "out.mp4.json").read_text())["key"]
    assert second != first

    train = ("train", run.parent / "source", run.parent / "target", "-o", run, "--batch", "4")
    small = (*train, *SMALL)
    ended = visagist(*small, "--iterations", "10")
    assert ended.code == 0, ended.err
    ended = visagist(*swap, "--iterations", "8")  # the same swap, whose run has changed behind its back
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "out.mp4.json").read_text())["key"] not in (first, second)

    before = files(run)
    for arguments, words in (
        ((*small, "--iterations", "9"), "10 iterations are done, more than --iterations 9"),
        ((*small, "--iterations", "12", "--seed", "1"), "--seed was 0, now 1"),
        ((*train, *SMALL[2:], "--settings.size", "96"), "--settings.size was 64, now 96"),
    ):
        ended = visagist(*arguments)
        assert ended.code == 1
        assert words in ended.err.splitlines()[-1]
    assert files(run) == before
