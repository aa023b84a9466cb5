"""Presets: options they fill by device and memory, and runs that keep them."""

from pathlib import Path

import pytest
import torch

from tests.training.conftest import small_options
from visagist.cli.app import app
from visagist.core.device import Compute
from visagist.core.errors import ConfigError, RunError
from visagist.core.events import Event, Note, silent
from visagist.core.settings import read_toml, save_call
from visagist.models import ARCHITECTURES, configure
from visagist.training import Crops, TrainOptions, presets, train_crops
from visagist.training.memory import GIB, estimate_memory
from visagist.training.presets import expected_seconds, resolve
from visagist.training.resume import fixed_options
from visagist.training.run import RunRecord

CPU = Compute(torch.device("cpu"), None, torch.channels_last)
CUDA = Compute(torch.device("cuda"), torch.bfloat16, torch.channels_last)  # need not be available
IDENTITIES = ("source", "target")
PLAIN = {"model": "original", "settings": {"size": 32, "width": 4, "latent": 16}}
OPEN: dict[str, object] = {**PLAIN, "iterations": 4, "device": "cpu", "held_out": 0.2}


def asked(preset: str, **changes: object) -> TrainOptions:
    return TrainOptions.model_validate({"preset": preset, **changes})


def resolved(options: TrainOptions, room: int | None = None, compute: Compute = CPU, crops: int = 0) -> TrainOptions:
    return resolve(options, IDENTITIES, crops, compute, room)


def peak(**changes: object) -> int:
    return estimate_memory(TrainOptions.model_validate(changes), IDENTITIES, CPU, 0)


@pytest.mark.parametrize("compute", [CPU, CUDA])
@pytest.mark.parametrize("model", ARCHITECTURES.names)
def test_preset_settings_of_each_architecture_are_valid(model: str, compute: Compute) -> None:
    for preset in ("draft", "final"):
        found = resolved(asked(preset, model=model), compute=compute)
        assert found.model == model
        assert found.settings in ARCHITECTURES[model].presets(compute.device.type)


@pytest.mark.parametrize(("preset", "model"), [("draft", "visage"), ("standard", "df"), ("final", "df")])
def test_gpus_get_models_with_more_arithmetic(preset: str, model: str) -> None:
    assert resolved(asked(preset), compute=CUDA).model == model
    assert resolved(asked(preset), compute=CPU).model == "visage"


def test_given_options_win_in_nested_settings_too() -> None:
    own = {"losses": {"gan": 0.0, "dssim": 2.0}, "settings": {"size": 192, "latent": 64}, "batch": 6, "save_every": 7}
    found = resolved(asked("final", model="liae", iterations=9, **own))
    assert (found.losses.gan, found.losses.weight("dssim"), found.losses.weight("focal_frequency")) == (0, 2, 50)
    assert found.settings == {"size": 192, "latent": 64, "options": "ud"}
    assert (found.batch, found.save_every) == (6, 7)
    assert (found.iterations, found.minutes) == (9, None)


def test_with_plenty_of_memory_nothing_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "estimate_memory", None)
    assert resolved(asked("standard"), 1000 * GIB).batch == 8


def test_the_largest_batch_that_fits_is_used() -> None:
    large = {**PLAIN, "settings": {"size": 128, "width": 4, "latent": 16}}
    room = round(peak(**large, batch=4) / presets.MEMORY_SHARE) + 1
    assert resolved(asked("standard", **large), room).batch == 4


def test_faces_get_smaller_if_the_smallest_batch_does_not_fit() -> None:
    narrow = {"latent": 16, "shared": 8, "encoder": [8, 16, 16], "decoder": [16, 16, 8, 8]}
    room = round(peak(model="quick", batch=4, settings={**narrow, "size": 192}) / presets.MEMORY_SHARE) - 2**20
    found = resolved(asked("standard", model="quick", settings=narrow, batch=4), room)
    assert found.settings["size"] == 128


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"original of 32 px with --batch 4 takes about .* GiB"):
        resolved(asked("standard", **OPEN), 2**30, crops=10**6)


def test_short_trainings_on_a_cpu_take_small_batches(crops: dict[str, Crops], tmp_path: Path) -> None:
    assert (resolved(asked("draft")).batch, resolved(asked("draft"), compute=CUDA).batch) == (4, 8)
    options = TrainOptions.model_validate(OPEN)
    train_crops(crops, tmp_path, options)
    assert RunRecord.read(tmp_path).options.batch == 4
    larger = TrainOptions.model_validate({**OPEN, "batch": 6})
    with pytest.raises(RunError, match="--batch was 4, now 6"):
        train_crops(crops, tmp_path, larger)


def test_every_identity_is_in_a_batch_twice() -> None:
    names = tuple(map(str, range(20)))
    assert resolve(asked("final", **PLAIN), names, 0, CUDA, None).batch == 40


def test_saving_follows_the_expected_speed() -> None:
    slow, fast = (resolved(asked("standard", model="quick"), compute=compute) for compute in (CPU, CUDA))
    assert fast.save_every > 20 * slow.save_every
    assert slow.backup_every > 2 * slow.preview_every >= 2 * slow.save_every
    one, four = (expected_seconds(TrainOptions(batch=batch), IDENTITIES, CPU) for batch in (2, 8))
    assert four == pytest.approx(4 * one)


def test_a_start_gives_the_network(source: Crops, target: Crops, tmp_path: Path) -> None:
    started = small_options(iterations=2)
    train_crops({"source": source, "target": target}, tmp_path, started)
    found = resolved(asked("final", start=tmp_path))
    assert found.model == started.model
    assert configure(found.model, found.settings) == configure(started.model, started.settings)


def test_run_keeps_what_it_began_with_and_its_config_repeats_it(
    crops: dict[str, Crops], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = tmp_path / "run", list[Event]()
    train_crops(crops, run, asked("final", **OPEN, save_every=4), on_event=said.append)
    begun = RunRecord.read(run).options
    assert (begun.preset, begun.batch, begun.losses.gan) == ("final", 8, 0.1)
    assert TrainOptions.model_validate(read_toml(run / "run.toml")["options"]) == begun  # complete on the disk
    _, note, *_ = [event.message for event in said if isinstance(event, Note) and "preset" in event.message]
    assert "--batch 8 " in note
    assert "--augmentation.warp-grids 3 --augmentation.warp-grids 5 --augm" in note
    assert "save-every" not in note  # which was given

    monkeypatch.setattr(presets, "available_memory", lambda _: 1)  # no memory, so a new choice would fail
    assert train_crops(crops, run, asked("final", device="cpu")).resumed_at == 4
    assert train_crops(crops, run, asked("final", **{**OPEN, "iterations": 5})).iterations == 5
    for other, changed in (
        (asked("draft", **OPEN), "--preset was final, now draft"),
        (TrainOptions.model_validate({**OPEN, "iterations": 5}), "--preset final"),
        (asked("final", **OPEN, batch=4), "--batch was 8, now 4"),
    ):
        with pytest.raises(RunError, match=changed):
            train_crops(crops, run, other)

    save_call(tmp_path / "train.toml", {"source": Path("a"), "target": Path("b"), "output": run, **begun.model_dump()})
    called = parsed("train", "--config", str(tmp_path / "train.toml"))
    assert fixed_options(called) == fixed_options(begun)
    plain = begun.model_copy(update={"preset": None})  # the same options, named one by one
    first, second = (train_crops(crops, tmp_path / name, options) for name, options in (("a", called), ("b", plain)))
    assert first.weights_sha256 == second.weights_sha256


def parsed(*arguments: str) -> TrainOptions:
    """The options that `visagist train` passes on."""
    got: list[TrainOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "config", app.config)  # restored afterwards
        patch.setattr("visagist.train", lambda *_, options, **__: got.append(options))
        app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    return got[0]


def test_the_command_line_passes_on_only_given_options(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('preset = "final"\nbatch = 4\n[losses]\ngan = 0.1\n')
    options = parsed(
        "train", "a", "b", "-o", "c", "--config", str(config), "--losses.gan", "0", "--settings.options", "d"
    )
    assert presets.given(options) == {
        "preset": "final",
        "batch": 4,
        "losses": {"gan": 0},
        "settings": {"options": "d"},
    }


def test_without_a_preset_nothing_is_filled(tmp_path: Path) -> None:
    def no_count() -> int:
        raise AssertionError

    options = TrainOptions(batch=4)
    assert presets.with_preset(options, tmp_path, IDENTITIES, no_count, silent) is options


def test_a_preset_says_how_long_it_trains(tmp_path: Path) -> None:
    said: list[Event] = []
    for preset, length in (("draft", "trains 10 minutes"), ("final", "trains 2 days")):
        options = asked(preset, **{**PLAIN, "device": "cpu"})
        presets.with_preset(options, tmp_path / preset, IDENTITIES, lambda: 0, said.append)
        assert isinstance(said[-1], Note)
        assert length in said[-1].message
