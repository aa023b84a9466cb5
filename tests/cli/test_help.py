"""`--help` contains all docstrings of commands and options."""

import functools
import inspect
import re
from operator import getitem

import pytest
from rich.console import Console

from tests.cli.test_documented import unknown
from tests.cli.test_train_options import BOUNDS, tables
from visagist.cli.app import COMMANDS, app, main
from visagist.core.settings import Settings
from visagist.jobs.evaluate import EvaluateOptions
from visagist.jobs.extract import ExtractOptions
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions
from visagist.models import ARCHITECTURES, settings_schema
from visagist.training import TrainOptions
from visagist.training.augment import Augmentation

CONSENT = ("new", "show", "trust", "signers", "untrust", "revoke")
ALL = [*COMMANDS, *(f"consent {name}" for name in CONSENT)]
WIDTH = 100  # columns


def words(text: str) -> str:
    return " ".join(text.replace("`", "").replace("│", " ").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_whole_docstring(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = app[command].default_command
    assert function is not None
    said = inspect.cleandoc(function.__doc__ or "").split("Parameters\n---")[0]
    assert main([command, "--help"]) == 0
    assert words(said) in words(capsys.readouterr().out)


@pytest.mark.parametrize("command", ALL)
def test_every_argument_and_option_is_explained(command: str) -> None:
    arguments = functools.reduce(getitem, command.split(), app).assemble_argument_collection(parse_docstring=True)
    mute = [argument.name for argument in arguments if argument.show and not argument.parameter.help]
    assert not mute


def test_every_augmentation_is_explained() -> None:
    arguments = app["train"].assemble_argument_collection(parse_docstring=True)
    texts = {
        argument.name: argument.parameter.help
        for argument in arguments
        if argument.show and argument.name.startswith("--augmentation.")
    }
    assert len(texts) == len(set(texts.values())) == len(Augmentation.model_fields)


def test_every_range_is_in_the_help() -> None:
    arguments = app["train"].assemble_argument_collection(parse_docstring=True)
    texts = {argument.name: argument.parameter.help or "" for argument in arguments}
    numbers = {f"--{name}": field for name, field in TrainOptions.model_fields.items()}
    numbers |= {f"--{table}.{name}": f for table, kind in tables().items() for name, f in kind.model_fields.items()}
    missing: list[str] = []
    for name, field in numbers.items():
        option = name.replace("_", "-")
        ends = [getattr(limit, type(limit).__name__.lower()) for limit in field.metadata if isinstance(limit, BOUNDS)]
        for end in ends:
            written = re.escape(f"{end:g}" if end < 1e5 else str(end))
            if not re.search(rf"(?<![\d.]){written}(?!\d)", texts[option]):
                missing.append(f"{option}: {end}")
    assert not missing


def test_augmentations_that_are_not_numbers_can_be_given() -> None:
    given = ("flip source", "warp-grids 3", "warp-grids 9", "color-transfer sot", "yaw-bins 18")
    ways = " ".join(f"--augmentation.{each}" for each in given)
    _, bound, _ = app.parse_args(f"train a b -o c {ways}", exit_on_error=False, print_error=False)
    wanted = Augmentation(flip="source", warp_grids=(3, 9), color_transfer="sot", yaw_bins=18)
    assert bound.arguments["options"].augmentation == wanted


def help_of(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(app, "console", Console(width=WIDTH))  # an earlier test may have made the default one
    assert main([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ALL)
def test_help_has_an_example_whose_options_exist(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(command, capsys, monkeypatch)
    examples = [line for line in text.partition("╭")[0].splitlines()[1:] if f"visagist {command}" in line]
    assert examples
    if not command.startswith("consent"):  # whose commands `unknown` does not know
        assert unknown(text.partition("╭")[0]) == []
    assert "--empty" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_common_options_come_first(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, advanced, rest = help_of(command, capsys, monkeypatch).partition("─ Advanced: ")
    assert len(first.splitlines()) < 120
    assert not advanced or all("Advanced" in line for line in rest.splitlines() if line.startswith("╭"))


@pytest.mark.parametrize(
    ("command", "required"),
    [
        ("swap", ["--output", "--source-consent", "--target-consent"]),
        ("merge", ["--output", "--source-consent", "--target-consent"]),
        ("evaluate", ["--target", "--source"]),
        ("consent new", ["--name", "--adult", "--basis", "--statement", "--scope"]),
    ],
)
def test_required_options_are_marked(
    command: str, required: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = [line for line in help_of(command, capsys, monkeypatch).splitlines() if line.startswith("│ *")]
    assert [name for name in required if not any(name in line for line in marked)] == []


@pytest.mark.parametrize("model", ARCHITECTURES.built_in)
def test_help_lists_the_settings_of_the_chosen_model(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = help_of(f"train --model {model}", capsys, monkeypatch)
    for name, schema in settings_schema(model).items():
        assert f"--settings.{name} " in text
        assert words(schema["description"]) in words(text)


@pytest.mark.parametrize(
    "kind", [TrainOptions, *tables().values(), MergeOptions, EncodeOptions, ExtractOptions, EvaluateOptions]
)
def test_schemas_contain_what_forms_need(kind: type[Settings]) -> None:
    for name, schema in kind.model_json_schema()["properties"].items():
        assert {"title", "description", "group", "advanced"} <= schema.keys() or "$ref" in schema, name
