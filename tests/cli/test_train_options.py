"""Every option of a training, on the command line and in TOML, and invalid values."""

import math
from pathlib import Path
from typing import Any

import annotated_types
import pytest
import tomli_w

from visagist.cli.app import app, main
from visagist.core.errors import ConfigError
from visagist.core.settings import Settings
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions
from visagist.models import configure
from visagist.training import TrainOptions

GIVEN: dict[str, Any] = {  # another value than the default, of every option that is no table
    "model": "df",
    "coverage": "whole",
    "iterations": 7,
    "until": "plateau",
    "start": "/other",
    "batch": 12,
    "learning_rate": 0.002,
    "find_rate": True,
    "seed": 3,
    "device": "cpu",
    "margin": 1.5,
    "held_out": 0.1,
    "preview_every": 9,
    "save_every": 8,
    "backup_every": 11,
    "backups": 1,
    "preset": "final",
    "checkpointing": True,
    "freeze": ["encoder", "source"],
    "settings": {"size": 192, "options": "ud"},
    "schedule": {"warm_up": 5},
    "optimizer": {"name": "lion", "betas": [0.8, 0.9], "accumulate": 2},
    "augmentation": {"flip": "source", "warp_grids": [3, 9], "color_transfer": "mkl", "yaw_bins": 18, "driven": 0.25},
    "losses": {"masked": False, "gan_patch": 31},
}
BOUNDS = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)


def tables() -> dict[str, type[Settings]]:
    """The tables among the options, by name."""
    found = {name: field.annotation for name, field in TrainOptions.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Settings)}


def parsed(*tokens: str) -> TrainOptions:
    _, bound, _ = app.parse_args(["train", "a", "b", "-o", "c", *tokens], exit_on_error=False, print_error=False)
    options = bound.arguments["options"]
    assert isinstance(options, TrainOptions)
    return options


def test_every_option_can_be_given_on_the_command_line_and_in_toml(tmp_path: Path) -> None:
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in GIVEN.items()}
    for table, kind in tables().items():  # the numbers that are not among those above: a little more than the default
        for name, field in kind.model_fields.items():
            if name not in values[table] and isinstance(field.default, float | int):
                whole = field.annotation is int
                values[table][name] = field.default + 1 if whole else round(field.default * 0.7 + 0.013, 4)
    del values["losses"]["masked"]
    missing = [name for name in TrainOptions.model_fields if name not in values and name != "minutes"]
    assert missing == []
    tokens: list[str] = ["--losses.no-masked"]
    for name, value in values.items():
        for key, each in value.items() if isinstance(value, dict) else [("", value)]:
            flag = "--" + f"{name}.{key}".rstrip(".").replace("_", "-")
            if each is True:
                tokens += [flag]
            elif isinstance(each, list) and key != "betas":
                tokens += [token for one in each for token in (flag, str(one))]
            else:
                tokens += [flag, *map(str, each if isinstance(each, list) else [each])]
    values["losses"]["masked"] = False
    wanted = TrainOptions.model_validate(values)
    default = TrainOptions()
    for table, kind in tables().items():
        mine, theirs = getattr(wanted, table), getattr(default, table)
        assert [name for name in kind.model_fields if getattr(mine, name) == getattr(theirs, name)] == []
    as_text = {name: str(value) for name, value in wanted.settings.items()}  # made numbers of by the model's config
    assert parsed(*tokens) == wanted.model_copy(update={"settings": as_text})
    path = tmp_path / "train.toml"
    path.write_text(tomli_w.dumps(values))
    assert TrainOptions.load(path) == wanted
    assert main(["train", "none", "none", "-o", str(tmp_path / "run"), "--config", str(path)]) == 1  # no such faceset


def test_lists_of_numbers_can_be_given_on_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.toml"
    path.write_text("[settings]\nencoder = [8, 16, 0]\n")
    assert main(["train", "a", "b", "-o", str(tmp_path / "run"), "--config", str(path)]) == 2
    assert "encoder 0 must be from 4 to 4096" in capsys.readouterr().err
    assert parsed("--settings.encoder", "8,16,16").settings == {"encoder": "8,16,16"}
    assert configure("quick", {"encoder": "8,16,16"}) == configure("quick", {"encoder": [8, 16, 16]})


def test_settings_of_a_model_on_the_command_line_leave_those_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting on the command line once dropped the file's whole table silently."""
    path = tmp_path / "train.toml"
    path.write_text("[settings]\nsize = 100\nlatent = 32\n")
    call = ["train", "a", "b", "-o", str(tmp_path / "run"), "--config", str(path)]
    assert main([*call, "--settings.latent", "64"]) == 2
    assert "size 100 must be a multiple of 16" in capsys.readouterr().err
    assert main([*call, "--settings.size", "128"]) == 1  # no such faceset


def test_option_names_of_a_swap_are_unique() -> None:
    kinds = (TrainOptions, MergeOptions, EncodeOptions)
    names = [name for kind in kinds for name in kind.model_fields]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_infinity_and_nan_are_refused(value: float) -> None:
    """`--minutes inf` once ended in a traceback, and an infinite learning rate was accepted."""
    for table, kind in {"": TrainOptions, **tables()}.items():
        for name in (name for name, field in kind.model_fields.items() if "float" in str(field.annotation)):
            given = (value, value) if name == "betas" else value
            with pytest.raises(ConfigError, match=rf"options: {table}\.?{name}.*: .*, not {value}$"):
                TrainOptions.parse({table: {name: given}} if table else {name: given}, "options")


@pytest.mark.parametrize(
    ("tokens", "facts"),
    [
        (["--minutes", "inf"], ["--minutes", "100000", "inf"]),
        (["--iterations", "1000000000"], ["--iterations", "99999999", "1000000000"]),
        (["--iterations", "0"], ["--iterations", "1", "0"]),
        (["--batch", "2.5"], ["--batch", "integer", "2.5"]),
        (["--learning-rate", "nan"], ["--learning-rate", "1", "nan"]),
        (["--preset", "best"], ["--preset", "'draft', 'standard' or 'final'", "best"]),
        (["--model", "fast"], ["--model", "'original', 'quick'", "fast"]),
        (["--settings.size", "16"], ["--settings", "size 16", "multiple of 16 from 32 to 640"]),
        (["--settings.latnt", "64"], ["--settings", "latnt", "latent"]),
        (["--settings.latent", "many"], ["--settings", "latent", "many"]),
        (["--settings.encoder", "8,16"], ["--settings", "encoder", "3 numbers such as 64,192,320", "8,16"]),
        (["--model", "df", "--settings.options", "u,d"], ["--settings", "u,d", "letters u, d, t and c"]),
        (["--losses.dssim", "0", "--losses.absolute", "0"], ["--losses", "dssim, absolute"]),
        (["--losses.gan", "50"], ["--losses.gan", "10", "50"]),
        (["--losses.gan", "0.1", "--losses.gan-patch", "131"], ["--losses.gan-patch", "131", "128"]),
        (["--losses", "3"], ["--losses", "3"]),
        (["--optimizer.name", "adam"], ["--optimizer.name", "adamw", "adam"]),
        (["--optimizer.empty-betas"], ["--optimizer.betas"]),
        (["--optimizer.name", "schedule-free", "--optimizer.betas", "0", "0.9"], ["--optimizer.betas", "above 0"]),
        (["--augmentation.warp", "7"], ["--augmentation.warp", "0.1", "7"]),
        (["--augmentation.flip", "both"], ["--augmentation.flip", "'source' or 'target'", "both"]),
        (["--augmentation.warp-grids", "1"], ["--augmentation.warp-grids", "2", "1"]),
        (["--until", "boredom"], ["--until", "'end' or 'plateau'", "boredom"]),
        (["--device", "cpu:x"], ["--device", "cpu:x", "cuda:N"]),
        (["--settings", "64"], ["--settings", "dictionary", "64"]),
        (["--iterations", "3", "--minutes", "1"], ["iterations or minutes"]),
        (["--losses.gann", "3"], ["--losses.gann", "Did you mean --losses.gan"]),
    ],
)
def test_wrong_values_are_usage_errors_that_name_option_value_and_limit(
    tokens: list[str], facts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "a", "b", "-o", "c", *tokens]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    for fact in facts:
        assert fact in line, line
    assert "alue error" not in line
