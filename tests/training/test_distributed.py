"""One training by two processes: it follows one process, stops and goes back as one, and outlives the death of a rank.

What needs two processes that both live runs in one pair of them, for starting one takes seconds.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import visagist
from tests.models.test_models import SMALL
from tests.training.conftest import people
from visagist.core.device import Compute
from visagist.core.errors import ConfigError
from visagist.core.tensors import load_tensors
from visagist.models import configure
from visagist.training import TrainOptions
from visagist.training.checkpoint import read_state
from visagist.training.data import IdentityDataset
from visagist.training.distributed import World, joined, own_device, own_parts
from visagist.training.optimizers import micro_batches
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer, faces_per_identity

Make = Callable[..., TrainOptions]
# The scripts below import from here, and the same visagist.
ROOT = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(visagist.__file__).parents[1])])

RANK = """
import os, signal, sys
from pathlib import Path
import torch
import visagist.core.device
import visagist.training.train
from tests.training.conftest import people, small_options
from tests.models.test_models import SMALL
from tests.training.test_distributed import EVERY_LOSS, followed
from visagist.core.errors import RunError
from visagist.core.events import silent, Warned
from visagist.training import train_crops
from visagist.core.tensors import save_tensors
from visagist.training.distributed import joined
from visagist.training.trainer import Trainer

visagist.core.device.cpu_has_bf16 = lambda: False  # float32
torch.set_num_threads(1)
task, folder = sys.argv[1], Path(sys.argv[2])
batch = Trainer.batch

def train(name, events=silent):
    crops = {"source": people(1), "target": people(2)}
    return train_crops(crops, folder / name, small_options(batch=6), on_event=events)

def at(iteration, happens, first_attempt=False):
    def fails(trainer, now):
        if now == iteration and not (first_attempt and trainer.attempt):
            return happens(*batch(trainer, now))
        return batch(trainer, now)
    Trainer.batch = fails

def signalled(number):
    def happens(*planes):
        os.kill(os.getpid(), number)
        return planes
    return happens

if task == "all":
    with joined() as world:
        for iterations in (1, 4):
            trainer = followed(small_options(**EVERY_LOSS), iterations)
            if world.is_main:
                save_tensors(folder / f"followed-{iterations}", trainer.tensors(), {})
        for model in ("liae", "amp"):
            trainer = followed(small_options(batch=6, model=model, settings=SMALL[model]), 1)
            save_tensors(folder / f"{model}-{world.rank}", trainer.tensors(), {})
        summary = train("unbroken")
        assert bool(summary.metrics) == world.is_main
        if not world.is_main:
            at(4, signalled(signal.SIGTERM))
        try:
            train("stopped")
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("not stopped")
        Trainer.batch = batch
        assert train("stopped").resumed_at == 5
        if not world.is_main:
            at(6, lambda seen, truth: (seen * float("nan"), truth), first_attempt=True)
        said = []
        assert train("poisoned", said.append).rollbacks == 1
        warned = [event.message for event in said if isinstance(event, Warned)]
        assert len(warned) == world.is_main, warned
        Trainer.batch = batch
        assert train("killed").resumed_at == 4
        # The first process alone sees a plateau, at iteration 16; both go back to it, whatever failed before.
        visagist.training.train.validate = lambda *_: {"ssim_source": 0.9, "ssim_target": 0.95}
        def fails(trainer, now):
            seen, truth = batch(trainer, now)
            return (seen * float("nan") if (now, trainer.attempt) in ((15, 0), (17, 1)) else seen), truth
        Trainer.batch = fails
        said = []
        flat = {"until": "plateau", "schedule": {"cool_down": 0.2, "warm_up": 0}, "preview_every": 1, "save_every": 5}
        asked = small_options(batch=6, iterations=200, **flat)
        crops = {"source": people(1), "target": people(2)}
        assert train_crops(crops, folder / "flat", asked, on_event=said.append).iterations == 20
        warned = [event.message for event in said if isinstance(event, Warned)]
        assert not world.is_main or ["iteration 15 " in warned[0], "iteration 16 " in warned[1]] == [True, True], warned
else:
    if os.environ["RANK"] == "1":
        at(6, signalled(signal.SIGKILL))
    try:
        train("killed")
    except RunError as error:
        print(error)
        sys.exit(3)
"""

EVERY_LOSS = {
    "batch": 12,
    "learning_rate": 1e-4,
    "optimizer": {"accumulate": 2},
    "losses": {
        "squared": 1.0,
        "focal_frequency": 10.0,
        "face_style": 1.0,
        "background_style": 1.0,
        "gan": 0.05,
        "gan_dims": 4,
        "true_face": 0.01,
    },
    "schedule": {"cool_down": 1.0},
    "augmentation": {"color_transfer": "rct", "color_transfer_chance": 0.5},
}


def followed(options: TrainOptions, iterations: int) -> Trainer:
    """A trainer after some iterations in float32."""
    compute = Compute(torch.device("cpu"), None, torch.channels_last)
    size = configure(options.model, options.settings).size
    datasets = {
        name: IdentityDataset(people(i + 1, size=size), 0.2, compute.device)
        for i, name in enumerate(("source", "target"))
    }
    trainer = Trainer(datasets, options, Plan.of(12, options.schedule), compute)
    for iteration in range(iterations):
        trainer.step(iteration)
    return trainer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "rank.py"
    path.write_text(RANK)
    return path


def begin(script: Path, task: str, folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    """One rank, as torchrun would start it, but nobody looks after it."""
    known = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    where = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    where["PYTHONPATH"] = ROOT
    command = [sys.executable, script, task, folder]
    return subprocess.Popen(command, env={**os.environ, **known, **where}, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def killed(script: Path, folder: Path) -> str:
    """What the first rank said when the second was killed."""
    port = free_port()
    first, second = (begin(script, "killed", folder, rank, port) for rank in (0, 1))
    with first, second:
        assert second.wait(60) == -signal.SIGKILL
        said, _ = first.communicate(timeout=10)  # seconds: it must not wait for the time-out
    assert first.returncode == 3
    state = read_state(folder / "killed" / "checkpoints")
    assert state is not None
    assert state.latest == 4
    return said


@pytest.fixture(scope="module")
def pair(script: Path, folder: Path, killed: str) -> Path:
    """What two processes that torchrun started have left behind, among it the run of before, gone on with."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}
    done = subprocess.run(
        [*command, script, "all", folder], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def distance(first: dict[str, Tensor], second: dict[str, Tensor], kind: str) -> float:
    """Length of the difference of all tensors whose names begin so."""
    return sum(float((first[k] - second[k]).double().norm() ** 2) for k in first if k.startswith(kind)) ** 0.5


def test_two_ranks_follow_one_that_has_the_whole_batch(pair: Path, options: Make) -> None:
    """Float32 sums in another order differ by 1e-7 of themselves, the gradients of all these losses by 1e-6. (That of
    the identity loss, which comes through all of SFace, differs by 1e-3; it is left out, for its time too.) Adam then
    divides by the size of a gradient: where that is near 0, rounding decides about a step of full length."""
    one, four = (followed(options(**EVERY_LOSS), n).tensors() for n in (1, 4))
    begun = {name: torch.zeros_like(tensor) for name, tensor in one.items()}
    begun |= {f"weight/{name}": w.detach() for name, w in followed(options(**EVERY_LOSS), 0).weights.items()}
    of_one, of_four = (load_tensors(pair / f"followed-{n}") for n in (1, 4))
    assert one.keys() == of_one.keys()
    for moments in ("exp_avg/", "gan/exp_avg/", "true_face/exp_avg/"):  # of one gradient
        assert distance(one, of_one, moments) < 1e-5 * distance(one, begun, moments)
    assert distance(four, of_four, "weight/") < 1e-3 * distance(four, begun, "weight/")


def test_two_ranks_have_the_gradients_of_one_with_liae_too(pair: Path, options: Make) -> None:
    one = followed(options(batch=6, model="liae", settings=SMALL["liae"]), 1).tensors()
    nothing = {name: torch.zeros_like(tensor) for name, tensor in one.items()}
    for rank in range(2):
        assert distance(one, load_tensors(pair / f"liae-{rank}"), "exp_avg/") < 1e-5 * distance(
            one, nothing, "exp_avg/"
        )


def test_ranks_that_draw_at_random_apart_stay_one_network(pair: Path) -> None:
    first, second = (load_tensors(pair / f"amp-{rank}") for rank in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    draws = [
        torch.rand(9, generator=World(rank, 3).own_generator(torch.Generator().manual_seed(0))) for rank in range(3)
    ]
    assert torch.equal(draws[0], torch.rand(9, generator=torch.Generator().manual_seed(0)))  # as one process alone
    assert not any(torch.isin(draws[i], draws[j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_both_stop_on_a_signal_to_one_and_go_on_exactly(pair: Path) -> None:
    assert_same_weights(pair / "stopped", pair / "unbroken")


def test_both_go_back_together(pair: Path) -> None:
    """Only the second rank had a batch that was not a number; what was asserted there is in `RANK`."""
    state = read_state(pair / "poisoned" / "checkpoints")
    assert state is not None
    assert (state.latest, state.attempt, state.rate) == (12, 1, 0.5)


def assert_same_weights(first: Path, second: Path) -> None:
    assert (first / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()


def test_one_rank_killed_ends_the_other_and_the_same_command_goes_on(killed: str, pair: Path) -> None:
    assert "another process of this training has ended" in killed
    assert_same_weights(pair / "killed", pair / "unbroken")


def test_faces_are_shared_out_and_all_of_them_once() -> None:
    parts = micro_batches(faces_per_identity(24, 3), 2)
    found = [own_parts(parts, World(rank, 3)) for rank in range(3)]
    assert sorted(row for own, _ in found for row in own) == list(range(24))
    for own, mine in found:
        assert sorted(place for places, _ in mine for place in places) == list(range(len(own)))
        for (rows, _), (places, counts) in zip(parts, mine, strict=True):
            assert {own[place] for place in places} <= set(rows)
            assert all(counts)
            assert sum(counts) == len(places)
    assert own_parts(parts, World())[1] is parts


def test_a_batch_with_too_few_faces_for_all_is_refused_with_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"4 processes .* 3 faces .* 2 times as large, or start at most 3"):
        own_parts(micro_batches((5, 3), 1), World(0, 4))


def test_without_torchrun_nothing_is_shared() -> None:
    with joined({}) as world:
        assert world == World(0, 1)
        assert (world.any(True), world.agreed(7), world.is_main) == (True, 7, True)
        x = torch.ones(3)
        world.sum_in_place([x])
        assert x.tolist() == [1, 1, 1]
        assert own_device("cuda:1") == "cuda:1"


def test_half_an_environment_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="WORLD_SIZE is 2, but RANK, LOCAL_RANK missing"),
        joined({"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}),
    ):
        pass
