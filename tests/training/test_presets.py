"""Presets: what they fill, by which device and memory, and that a run keeps what it was begun with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.conftest import small_options
from visagist.cli.app import app
from visagist.core.device import Compute, choose
from visagist.core.errors import ConfigError, RunError
from visagist.core.events import Event, Note, silent
from visagist.core.settings import read_toml, save_call
from visagist.training import Crops, TrainOptions, presets, train_crops
from visagist.training.budget import fixed_options, known_record
from visagist.training.memory import GIB, estimate_memory
from visagist.training.presets import resolve, seconds_an_iteration
from visagist.training.run import RunRecord

CPU = Compute(torch.device("cpu"), None, torch.channels_last)
CUDA = Compute(torch.device("cuda"), torch.bfloat16, torch.channels_last)  # need not be here
PEOPLE = ("source", "target")
SMALL = small_options().settings  # a quick of 32 px
PLAIN = {"model": "original", "settings": {"size": 32, "width": 4, "latent": 16}}
OPEN: dict[str, object] = {**PLAIN, "iterations": 4, "device": "cpu", "held_out": 0.2}


def asked(preset: str, **changes: object) -> TrainOptions:
    return TrainOptions.model_validate({"preset": preset, **changes})


def resolved(options: TrainOptions, room: int | None = None, compute: Compute = CPU, crops: int = 0) -> TrainOptions:
    return resolve(options, PEOPLE, crops, compute, room, None)


@pytest.mark.parametrize(
    ("preset", "compute", "model", "size", "minutes"),
    [
        ("draft", CPU, "quick", 128, 10),
        ("draft", CUDA, "quick", 128, 10),
        ("standard", CPU, "visage", 256, 480),
        ("standard", CUDA, "df", 256, 240),
        ("final", CPU, "visage", 256, 2880),
        ("final", CUDA, "df", 256, 720),
    ],
)
def test_network_and_length_follow_preset_and_device(
    preset: str, compute: Compute, model: str, size: int, minutes: float
) -> None:
    found = resolved(asked(preset), compute=compute)
    assert (found.model, found.settings["size"], found.minutes) == (model, size, minutes)
    assert found.settings.get("options") == ("ud" if model == "df" else None)


def test_what_a_preset_changes_besides() -> None:
    draft, standard, final = (resolved(asked(preset, **OPEN)) for preset in ("draft", "standard", "final"))
    plain = TrainOptions()
    assert (draft.losses, draft.augmentation, draft.schedule) == (plain.losses, plain.augmentation, plain.schedule)
    assert standard.losses == plain.losses
    assert (final.losses.focal_frequency, final.losses.gan, final.losses.finish) == (50, 0.1, 0.2)
    for long in (standard, final):
        assert long.schedule.decay == "late"
        assert long.augmentation.warp_grids == (3, 5, 9)
        assert (long.augmentation.color_transfer, long.augmentation.color_transfer_chance) == ("rct", 0.5)
    assert [each.backups for each in (draft, standard, final)] == [0, 3, 4]


@pytest.mark.parametrize("preset", ["draft", "standard"])
def test_a_plateau_can_be_waited_for(preset: str) -> None:
    """It was refused, because of the decay that the preset was to replace."""
    assert resolved(TrainOptions.parse({"preset": preset, "until": "plateau"}, "test")).schedule.decay == "late"
    falling = {"preset": preset, "until": "plateau", "schedule": {"decay": "linear"}}
    with pytest.raises(ConfigError, match=r"give --schedule\.decay late \(or none\), not linear"):
        TrainOptions.parse(falling, "test")


def test_where_there_is_plenty_of_memory_nothing_is_played_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "estimate_memory", None)
    assert resolved(asked("standard"), 1000 * GIB).batch == 8


def test_what_is_given_wins_in_nested_settings_too() -> None:
    own = {"losses": {"gan": 0.0, "dssim": 2.0}, "settings": {"size": 160, "latent": 64}, "batch": 6, "save_every": 7}
    found = resolved(asked("final", model="liae", iterations=9, **own))
    assert (found.losses.gan, found.losses.dssim, found.losses.focal_frequency) == (0, 2, 50)
    assert found.settings == {"size": 160, "latent": 64, "options": "u"}
    assert (found.model, found.batch, found.save_every) == ("liae", 6, 7)
    assert (found.iterations, found.minutes) == (9, None)


def test_a_model_without_sizes_of_ours_keeps_its_own() -> None:
    assert resolved(asked("final", model="original")).settings == {}


LARGE = {**PLAIN, "settings": {"size": 128, "width": 4, "latent": 16}}


@pytest.mark.parametrize(
    ("batch", "again", "accumulate", "asked_for"),
    [
        (4, False, 1, {}),
        (8, False, 2, {"batch": 8, "checkpointing": False}),
        (8, True, 2, {"batch": 8}),
    ],
)
def test_memory_bounds_the_batch(batch: int, again: bool, accumulate: int, asked_for: dict[str, object]) -> None:
    """Room for just this much: the next larger does not fit. Below the smallest batch blocks are computed again, below
    that it is cut into parts."""
    changes = {**LARGE, "batch": batch, "checkpointing": again, "optimizer": {"accumulate": accumulate}}
    wanted = TrainOptions.model_validate(changes)
    room = round(estimate_memory(wanted, PEOPLE, CPU, 0).peak / presets.ROOM) + 1
    found = resolved(asked("draft", **LARGE, **asked_for), room)
    assert (found.batch, found.checkpointing, found.optimizer.accumulate) == (batch, again, accumulate)


def test_faces_in_memory_count() -> None:
    options = asked("draft", **OPEN, optimizer={"accumulate": 1})
    room = 2 * estimate_memory(options, PEOPLE, CPU, 0).peak
    assert resolved(options, room).batch == 8
    with pytest.raises(
        ConfigError,
        match=r"draft: original of 32 px with --checkpointing --batch 4.*faces 14.90.*--preset draft",
    ):
        resolved(options, room, crops=10**6)


def test_faces_get_smaller_where_the_smallest_batch_does_not_fit() -> None:
    small = {name: value for name, value in SMALL.items() if name != "size"}
    options = asked("standard", model="quick", settings=small, batch=4)
    peak = estimate_memory(options.model_copy(update={"settings": {**small, "size": 192}}), PEOPLE, CPU, 0).peak
    found = resolved(options, round(peak / presets.ROOM) - 2**20)
    assert (found.settings["size"], found.optimizer.accumulate) == (128, 1)


def test_on_a_cpu_steps_count_for_more_than_a_batch() -> None:
    def batches(people: int, kind: str) -> list[int]:
        return [step["batch"] for step in presets.ladder(asked("final"), people, kind)[0]]

    assert (batches(2, "cpu"), batches(2, "cuda")) == ([8, 4], [32, 16, 8, 4])
    assert (batches(5, "cpu"), batches(5, "cuda"), batches(20, "cuda")) == ([10], [32, 16], [40])


def test_saving_follows_the_expected_speed() -> None:
    slow, fast = (resolved(asked("standard", model="quick"), compute=compute) for compute in (CPU, CUDA))
    assert fast.save_every > 20 * slow.save_every
    assert slow.preview_every >= slow.save_every
    assert slow.backup_every > 2 * slow.preview_every
    small = TrainOptions(batch=2)
    assert seconds_an_iteration(TrainOptions(batch=8), PEOPLE, CPU) == 4 * seconds_an_iteration(small, PEOPLE, CPU)


def test_checkpointing_that_a_preset_filled_stays_and_may_be_changed(
    source: Crops, target: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = TrainOptions.model_validate({**OPEN, "checkpointing": True})
    room = round(estimate_memory(wanted, PEOPLE, choose("cpu"), 48).peak / presets.ROOM) + 1
    monkeypatch.setattr(presets, "available", lambda _: room)
    said: list[Event] = []
    train_crops(source, target, tmp_path, asked("draft", **OPEN, batch=8), said.append)
    _, note = [event.message for event in said if isinstance(event, Note) and "preset" in event.message]
    assert " --checkpointing " in note
    assert RunRecord.read(tmp_path).options.checkpointing

    monkeypatch.setattr(presets, "available", lambda _: 100 * GIB)
    on = {**OPEN, "iterations": 5}
    filled = presets.with_preset(asked("draft", **on), tmp_path, PEOPLE, lambda: 48, silent)
    assert (filled.batch, filled.checkpointing) == (8, True)
    other = asked("draft", **on, checkpointing=False)
    changed = presets.with_preset(other, tmp_path, PEOPLE, lambda: 48, silent)
    assert not changed.checkpointing
    assert known_record(tmp_path, changed) is not None  # accepted


def test_a_start_gives_the_network() -> None:
    start = TrainOptions(model="liae", settings={"size": 64, "latent": 32})
    found = resolve(asked("final"), PEOPLE, 0, CPU, None, start)
    assert (found.model, found.settings) == (start.model, start.settings)


def test_run_keeps_what_it_began_with_and_its_config_repeats_it(
    source: Crops, target: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = tmp_path / "run", list[Event]()
    options = asked("final", **OPEN, save_every=4)
    train_crops(source, target, run, options, said.append)
    begun = RunRecord.read(run).options
    assert begun.preset == "final"
    assert begun.batch == 8
    assert begun.losses.gan == 0.1
    assert TrainOptions.model_validate(read_toml(run / "run.toml")["options"]) == begun  # complete on the disk
    _, note = [event.message for event in said if isinstance(event, Note) and "preset" in event.message]
    assert note.startswith("preset final: ")
    assert "--batch 8 " in note
    assert "--augmentation.warp-grids 3 --augmentation.warp-grids 5 --augm" in note
    assert "save-every" not in note

    monkeypatch.setattr(presets, "available", lambda _: 1)  # no memory at all: nothing is derived anew
    said.clear()
    summary = train_crops(source, target, run, asked("final", device="cpu", held_out=0.2), said.append)
    assert summary.resumed_at == 4
    assert any("as this run was begun: " in event.message for event in said if isinstance(event, Note))
    longer = train_crops(source, target, run, asked("final", **{**OPEN, "iterations": 5}), silent)
    assert longer.iterations == 5
    with pytest.raises(RunError, match=r"other options \(--preset was final, now draft\)"):
        train_crops(source, target, run, asked("draft", **OPEN), silent)
    with pytest.raises(RunError, match=r"other options.*; give --preset final, with which it was begun, or "):
        train_crops(source, target, run, TrainOptions.model_validate({**OPEN, "iterations": 5}), silent)
    with pytest.raises(RunError, match="--batch was 8, now 4"):
        train_crops(source, target, run, asked("final", **OPEN, batch=4), silent)

    save_call(tmp_path / "train.toml", {"source": Path("a"), "target": Path("b"), "output": run, **begun.model_dump()})
    called = parsed("train", "--config", str(tmp_path / "train.toml"))
    assert fixed_options(called) == fixed_options(begun)
    assert called.model_copy(update={"settings": begun.settings}) == begun  # which came as text
    again = train_crops(source, target, tmp_path / "again", called, silent)  # without any memory: all was given
    assert again.weights_sha256 == first_weights(source, target, tmp_path / "third", begun)


def first_weights(source: Crops, target: Crops, run: Path, options: TrainOptions) -> str:
    """Of the same options, named one by one and without the preset's name."""
    plain = options.model_copy(update={"preset": None})
    return train_crops(source, target, run, plain, silent).weights_sha256


def parsed(*arguments: str) -> TrainOptions:
    """The options of a call of `visagist train`, as the command line would hand them on."""
    got: list[TrainOptions] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "config", app.config)  # put back afterwards
        patch.setattr("visagist.train", lambda *given: got.append(given[3]))
        app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    return got[0]


def test_the_command_line_hands_on_only_what_was_given(tmp_path: Path) -> None:
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

    count: Callable[[], int] = no_count
    options = TrainOptions(batch=4)
    assert presets.with_preset(options, tmp_path, PEOPLE, count, silent) is options
    assert presets.rounded(0.7 * GIB) == 5 * 10**6
