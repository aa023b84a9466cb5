"""`--help` says all that the docstrings say, of every command and every option."""

import functools
import inspect
import re
from operator import getitem

import pytest

from tests.cli.test_train_options import BOUNDS, tables
from visagist.cli.app import COMMANDS, app, main
from visagist.training import TrainOptions
from visagist.training.augment import Augmentation

CONSENT = ("new", "show", "trust", "signers", "untrust")


def words(text: str) -> str:
    return " ".join(text.replace("`", "").replace("│", " ").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_whole_docstring(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = app[command].default_command
    assert function is not None
    said = inspect.cleandoc(function.__doc__ or "").split("Parameters\n---")[0]
    assert main([command, "--help"]) == 0
    assert words(said) in words(capsys.readouterr().out)


@pytest.mark.parametrize("command", [*COMMANDS, *(f"consent {name}" for name in CONSENT)])
def test_every_argument_and_option_is_explained(command: str) -> None:
    arguments = functools.reduce(getitem, command.split(), app).assemble_argument_collection(parse_docstring=True)
    mute = [argument.name for argument in arguments if argument.show and not argument.parameter.help]
    assert not mute


def test_every_augmentation_is_explained_by_itself() -> None:
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


def test_augmentations_that_are_no_plain_number_can_be_given() -> None:
    given = ("flip source", "warp-grids 3", "warp-grids 9", "color-transfer sot", "yaw-bins 18")
    ways = " ".join(f"--augmentation.{each}" for each in given)
    _, bound, _ = app.parse_args(f"train a b -o c {ways}", exit_on_error=False, print_error=False)
    wanted = Augmentation(flip="source", warp_grids=(3, 9), color_transfer="sot", yaw_bins=18)
    assert bound.arguments["options"].augmentation == wanted
