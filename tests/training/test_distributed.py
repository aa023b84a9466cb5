"""Training by two processes: the same result as one, joint stops and rollbacks, and a killed rank.

Everything that needs two living processes runs in the same pair, since starting one takes seconds.
"""

import os
import signal
import socket
import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import visagist
from tests.training.conftest import weights
from tests.training.trainers import EVERY_LOSS, assert_same_gradients, gradients, learning_from
from visagist.core.errors import ConfigError
from visagist.core.tensors import load_tensors
from visagist.training.checkpoint import read_state
from visagist.training.distributed import World, join_processes, own_device, split_batch

# The script below imports from here, and the same visagist.
ROOT = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(visagist.__file__).parents[1])])
ONE_GRADIENT = [*(("quick", loss) for loss in EVERY_LOSS), ("liae", "dssim"), ("visage", "face_style")]

RANK = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
import visagist.core.device
import visagist.training.train
from tests.faceset.blobs import write_faceset
from tests.models.test_models import SMALL
from tests.training.conftest import blob_crops, small_options
from tests.training.test_distributed import ONE_GRADIENT
from tests.training.trainers import EVERY_LOSS, FINISHING, gradients, learning_from, new_trainer
from visagist.core.errors import RunError
from visagist.core.events import silent, Warned
from visagist.core.tensors import save_tensors
from visagist.jobs.train import pretrain
from visagist.training import train_crops
from visagist.training.distributed import join_processes
from visagist.training.trainer import Trainer

visagist.core.device.cpu_has_bf16 = lambda: False  # float32
torch.set_num_threads(1)
task, folder = sys.argv[1], Path(sys.argv[2])
batch = Trainer.batch

def train(name, events=silent, **changes):
    # without embeddings, which makes validation ten times as fast
    crops = {"source": replace(blob_crops(1), centroid=()), "target": replace(blob_crops(2), centroid=())}
    return train_crops(crops, folder / name, small_options(batch=6, **changes), on_event=events)

def poison(*iterations):  # NaN batches at (iteration, attempt)
    def poisoned(trainer, now):
        seen, truth = batch(trainer, now)
        return (seen * float("nan") if (now, trainer.attempt) in iterations else seen), truth
    Trainer.batch = poisoned

def send(number, iteration):
    def signalled(trainer, now):
        if now == iteration:
            os.kill(os.getpid(), number)
        return batch(trainer, now)
    Trainer.batch = signalled

def apart(world):
    losses = {name: 0.1 for name in EVERY_LOSS} | {"gan_dims": 4, "gan_noise": 0.3}
    optimizer = {"accumulate": 2, "lr_dropout": 0.5}
    options = small_options(batch=12, model="amp", settings=SMALL["amp"], losses=losses, optimizer=optimizer)
    trainer = new_trainer(options, FINISHING)
    for iteration in range(3):
        trainer.step(iteration)
    save_tensors(folder / f"apart-{world.rank}", trainer.tensors(), {})

if task == "all":
    with join_processes() as world:
        for model, loss in ONE_GRADIENT:
            found = gradients(learning_from(loss, 2, model))
            save_tensors(folder / f"{model}-{loss}-{world.rank}", found, {})
        apart(world)
        assert bool(train("unbroken").metrics) == world.is_main
        if world.is_main:
            (folder / "people").mkdir()
            for seed, name in enumerate(("anna", "bert")):
                write_faceset(folder / "people" / name, seed, 8)
        world.wait()
        said = []
        asked = small_options(batch=6, iterations=2, held_out=0.3)
        pretrain(folder / "people", folder / "pretrained", options=asked, on_event=said.append)
        assert bool(said) == world.is_main, said
        if not world.is_main:
            send(signal.SIGTERM, 4)
        try:
            train("stopped")
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("not stopped")
        Trainer.batch = batch
        assert train("stopped").resumed_at == 5
        if not world.is_main:
            poison((6, 0))
        said = []
        assert train("poisoned", said.append).rollbacks == 1
        warned = [event.message for event in said if isinstance(event, Warned)]
        assert len(warned) == world.is_main, warned
        Trainer.batch = batch
        assert train("killed").resumed_at == 4
        # Only the first process sees a plateau, at iteration 16; both go back to it, whatever failed before.
        visagist.training.train.validate = lambda *_: {"ssim_source": 0.9, "ssim_target": 0.95}
        poison((15, 0), (17, 1))
        said = []
        flat = {"until": "plateau", "schedule": {"cool_down": 0.2, "warm_up": 0}, "preview_every": 1, "save_every": 5}
        assert train("flat", said.append, iterations=200, **flat).iterations == 20
        warned = [event.message for event in said if isinstance(event, Warned)]
        assert not world.is_main or ["iteration 15 " in warned[0], "iteration 16 " in warned[1]] == [True, True], warned
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]  # elsewhere than on Linux: none
    assert not any("gloo" in name for name in threads), threads  # one at work at the process's end would abort it
else:
    if os.environ["RANK"] == "1":
        send(signal.SIGKILL, 6)
    try:
        train("killed")
    except RunError as error:
        print(error)
        sys.exit(3)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the script and its output."""
    path = tmp_path_factory.mktemp("runs")
    (path / "rank.py").write_text(RANK)
    return path


def begin(folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    """Start one rank as torchrun would, but unsupervised."""
    known = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    where = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "PYTHONPATH": ROOT}
    command = [sys.executable, folder / "rank.py", "killed", folder]
    return subprocess.Popen(command, env={**os.environ, **known, **where}, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def killed(folder: Path) -> str:
    """Output of the first rank after the second was killed."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    first, second = (begin(folder, rank, port) for rank in (0, 1))
    with first, second:
        assert second.wait(60) == -signal.SIGKILL
        output, _ = first.communicate(timeout=10)  # seconds; it must not wait for the timeout
    assert first.returncode == 3
    state = read_state(folder / "killed" / "checkpoints")
    assert state is not None
    assert state.latest == 4
    return output


@pytest.fixture(scope="module")
def pair(folder: Path, killed: str) -> Path:
    """Output of two processes started by torchrun, which also continue the killed run."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    done = subprocess.run(
        [*command, folder / "rank.py", "all", folder], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def saved(pair: Path, name: str) -> dict[str, Tensor]:
    """Tensors saved by both ranks, after checking that they are equal."""
    first, second = (load_tensors(pair / f"{name}-{rank}") for rank in range(2))
    assert first.keys() == second.keys()
    assert [key for key, tensor in first.items() if not torch.equal(tensor, second[key])] == []
    return first


@pytest.mark.parametrize(("model", "loss"), ONE_GRADIENT)
def test_two_ranks_have_the_gradients_of_one_with_the_whole_batch(pair: Path, model: str, loss: str) -> None:
    assert_same_gradients(gradients(learning_from(loss, 1, model)), saved(pair, f"{model}-{loss}"), loss)


def test_ranks_with_different_random_numbers_keep_the_same_weights(pair: Path) -> None:
    saved(pair, "apart")
    draws = [
        torch.rand(9, generator=World(rank, 3).rank_generator(torch.Generator().manual_seed(0))) for rank in range(3)
    ]
    assert torch.equal(draws[0], torch.rand(9, generator=torch.Generator().manual_seed(0)))  # as a single process
    assert not any(torch.isin(draws[i], draws[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_signal_to_one_rank_stops_both_and_they_resume_exactly(pair: Path) -> None:
    assert weights(pair / "stopped") == weights(pair / "unbroken")


def test_both_ranks_roll_back_together(pair: Path) -> None:
    """Only the second rank had a NaN batch; `RANK` has the assertions on both."""
    state = read_state(pair / "poisoned" / "checkpoints")
    assert state is not None
    assert (state.latest, state.attempt, state.rate) == (12, 1, 0.5)


def test_one_rank_killed_ends_the_other_and_the_same_command_continues(killed: str, pair: Path) -> None:
    assert "another process of this training has ended" in killed
    assert weights(pair / "killed") == weights(pair / "unbroken")


@pytest.mark.parametrize(("counts", "parts", "ranks"), [((5, 3), 3, 1), ((4, 5, 4), 3, 1), ((9, 8, 7), 2, 3)])
def test_every_face_is_assigned_once_and_parts_have_equal_sizes(
    counts: tuple[int, ...], parts: int, ranks: int
) -> None:
    found = [split_batch(counts, parts, World(rank, ranks)) for rank in range(ranks)]
    assert sorted(row for own, _ in found for row in own) == list(range(sum(counts)))
    for own, mine in found:
        assert sorted(place for places, _ in mine for place in places) == list(range(len(own)))
        for places, each in mine:
            assert places == sorted(places)
            assert sum(each) == len(places)
            assert min(each) >= 1
            bounds = [0, *accumulate(counts)]
            assert np.histogram([own[place] for place in places], bounds)[0].tolist() == list(each)
    sizes = [len(places) for _, mine in found for places, _ in mine]
    assert max(sizes) - min(sizes) <= len(counts)


def test_a_batch_with_too_few_faces_is_refused_with_the_size_that_works() -> None:
    with pytest.raises(ConfigError, match=r"5 \+ 3 faces .* 4 processes .* 2 parts .* 3 times as large.* at most 3"):
        split_batch((5, 3), 2, World(0, 4))


def test_without_torchrun_nothing_is_shared() -> None:
    with join_processes() as world:
        assert world == World(0, 1)
        assert (world.any(True), world.is_main) == (True, True)
        assert (world.broadcast_number(7), world.broadcast_text("text")) == (7, "text")
        x = torch.ones(3)
        world.sum_in_place([x])
        assert x.tolist() == [1, 1, 1]
        assert own_device("cuda:1") == "cuda:1"


def test_an_incomplete_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2, but RANK, LOCAL_RANK missing"), join_processes():
        pass
