"""The estimate of a training's memory, against torch's own accounts and against a process that trains."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import small_options
from visagist.core.device import Compute
from visagist.core.errors import ConfigError
from visagist.core.events import silent
from visagist.models import create
from visagist.training import Crops, train_crops
from visagist.training.data.crops import Side
from visagist.training.memory import (
    GIB,
    Ledger,
    Memory,
    available,
    bound,
    check_memory,
    container_left,
    estimate_memory,
    peak,
    shortage,
    what_fits,
)
from visagist.training.optimizers import OptimizerOptions
from visagist.training.trainer import Trainer

CPU = torch.device("cpu")
FLOAT32 = Compute(CPU, None, torch.channels_last)
PEOPLE = ("source", "target")


def estimate(compute: Compute = FLOAT32, crops: int = 0, **changes: object) -> Memory:
    return estimate_memory(small_options(**changes), PEOPLE, compute, crops)


@pytest.fixture(scope="module")
def large() -> Memory:
    return estimate(batch=256)


def test_lasting_parts_are_those_of_the_network(large: Memory) -> None:
    network = create("quick", PEOPLE, **small_options().settings)
    size = 4 * sum(weight.numel() for weight in network.parameters())
    assert (large.weights, large.average) == (size, size)
    assert large.optimizer == pytest.approx(2 * size, rel=0.01)
    lion = estimate(optimizer={"name": "lion"}, crops=10**6)
    assert lion.optimizer == pytest.approx(size, rel=0.01)
    assert "faces 14.90" in lion.as_text()


def test_faces_are_what_is_read_and_what_is_trained_with_and_never_more() -> None:
    """Of as many crops as were read; the device's are made in place, so that a pool takes no more for a moment."""
    crops = replace(many(1500, 16), features=np.zeros((1500, 16, 16), np.uint8))
    assert crops.features is not None
    ledger = Ledger()
    with ledger:
        planes = Side(crops, 0.2, CPU).planes
    read = crops.images.nbytes + crops.hulls.nbytes + crops.features.nbytes
    assert ledger.peak < 1.4 * (read + planes.nbytes)
    pixels = 40 * 40 / 16**2
    assert estimate(crops=1500).faces == pixels * (read + planes.nbytes)
    cuda = Compute(torch.device("cuda"), None, torch.channels_last)
    assert estimate(cuda, crops=1500).faces == pixels * planes.nbytes


def many(count: int, side: int) -> Crops:
    """Crops all alike."""
    return Crops(np.zeros((count, side, side, 3), np.uint8), np.full((count, side, side), 255, np.uint8))


@pytest.mark.parametrize("losses", [{"gan": 0.1, "gan_dims": 4}, {"true_face": 0.01}, {"identity": 0.01}])
def test_networks_of_losses_are_in_what_is_said_before_the_start(losses: dict[str, object]) -> None:
    """Once the memory was said to be less than a bound that knew nothing of them."""
    assert "less than" in check_memory(small_options(), PEOPLE, FLOAT32, 0)
    assert "at its peak" in check_memory(small_options(losses=losses), PEOPLE, FLOAT32, 0)


@pytest.mark.parametrize(
    ("settings", "batch"), [({"encoder": 256, "decoder": 8, "mask": 4}, 2), ({"encoder": 4, "decoder": 256}, 32)]
)
def test_a_bound_is_above_what_wide_networks_take(settings: dict[str, object], batch: int) -> None:
    options = small_options(model="df", settings={"size": 64, "latent": 8, **settings}, batch=batch)
    options = options.model_copy(update={"optimizer": OptimizerOptions(name="schedule-free", lr_dropout=0.5)})
    assert bound(options, PEOPLE, FLOAT32, 0) > estimate_memory(options, PEOPLE, FLOAT32, 0).peak


def test_a_pool_that_is_two_people_counts_once_where_memory_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> tuple[Tensor, ...]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Trainer, "batch", fail)
    pool = many(1000, 40)
    with pytest.raises(ConfigError, match=r"ran out of memory.* faces 0\.01\)"):  # 15 MiB
        train_crops(pool, pool, tmp_path, small_options(), silent)


def test_a_step_grows_with_the_batch_and_shrinks_with_its_parts(large: Memory) -> None:
    assert 3.5 < large.step / estimate(batch=64).step < 4
    assert estimate(batch=256, optimizer={"accumulate": 8}).step < 0.6 * large.step


def test_more_parts_than_faces_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 1"):
        estimate(optimizer={"accumulate": 3})


def test_a_network_of_40_gb_is_estimated_on_any_machine() -> None:
    before = peak(CPU)
    found = estimate(model="df", settings={"size": 640, "latent": 1024, "encoder": 128, "decoder": 8, "mask": 4})
    after = peak(CPU)
    assert found.peak > 40 * GIB
    assert before is not None
    assert after is not None
    assert after - before < 0.3 * GIB


def test_ledger_counts_what_a_real_forward_saves() -> None:
    """Torch's own hook for saved tensors, on real tensors, is the reference for activations."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh())
    mine = {weight.untyped_storage().data_ptr() for weight in layers.parameters()}
    seen = torch.rand(2, 3, 16, 16)
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in mine:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = layers(seen)
    ledger = Ledger()
    with ledger:
        drawn = layers(seen)
    assert ledger.live == sum(saved.values()) - seen.untyped_storage().nbytes()
    assert kept.shape == drawn.shape


def test_ledger_lets_go() -> None:
    ledger = Ledger()
    with ledger:
        x = torch.zeros(1000)
        y = x[:10]
        del x
        assert ledger.live == 4000  # a view keeps all of it
        del y
        z = torch.zeros(500) + 1
        assert (ledger.live, ledger.peak) == (2000, 4000)
        del z
    assert ledger.live == 0


TRAINS = """
import torch
from tests.training.conftest import small_options
from tests.training.test_memory import CPU, FLOAT32, PEOPLE
from visagist.training.memory import peak
from visagist.training.trainer import Trainer
before = peak(CPU)
trainer = Trainer(dict.fromkeys(PEOPLE), small_options(batch=512), 3, FLOAT32)
for i in range(3):
    truth = torch.rand(512, 5, 32, 32).contiguous(memory_format=torch.channels_last)
    trainer.learn(i, truth[:, :3].clone(), truth)
print(peak(CPU) - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no count of resident memory there")
def test_estimate_is_near_what_a_process_takes() -> None:
    """Convolutions in float32 without AVX-512 take as much again for copies in a layout of their own."""
    large = estimate(batch=512)
    done = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=True)
    assert 0.4 * int(done.stdout) < large.peak - large.base < 2 * int(done.stdout)


def test_what_fits_is_found_and_said() -> None:
    options = small_options(batch=64, settings={**small_options().settings, "size": 64})
    needed = estimate_memory(options, PEOPLE, FLOAT32, 0)
    room = needed.peak - 2**20
    fits = what_fits(options, PEOPLE, FLOAT32, 0, room)
    assert [said for said, _ in fits] == [
        "--checkpointing",
        "--optimizer.accumulate 2",
        "--batch 32",
        "--settings.size 32",
    ]
    assert all(memory.peak <= room for _, memory in fits)
    assert "what fits: --checkpointing (0." in shortage(needed, room, fits)
    again = options.model_copy(update={"checkpointing": True})
    assert "--checkpointing" not in dict(what_fits(again, PEOPLE, FLOAT32, 0, room))
    assert "no smaller batch" in shortage(needed, 0, [])


def test_room_of_a_container_is_read(tmp_path: Path) -> None:
    assert container_left(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 50\n")
    assert container_left(tmp_path) == 650
    (tmp_path / "memory.max").write_text("max\n")
    assert container_left(tmp_path) is None
    room = available(CPU)
    assert room is not None
    assert room > 2**20
