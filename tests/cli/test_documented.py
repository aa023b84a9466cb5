"""What docs and help say of options: each of `train` is explained, and what is named exists."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from visagist.cli.app import COMMANDS, app
from visagist.models import ARCHITECTURES

DOCS = Path(__file__).parents[2] / "docs"
OTHERS = "## From DeepFaceLab and faceswap"  # whose tables have other programs' options in the first column
TORCHRUN = {"--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--max-restarts"}
TORCHRUN |= {"--local-ranks-filter"}
TABLES = {"Losses": "--losses.", "Augmentation": "--augmentation."}  # sections whose tables leave the prefix out


@cache  # a second each
def options(command: str) -> dict[str, str]:
    """Names of a command's options, the ways to say no among them, and what help says of each."""
    arguments = app[command].assemble_argument_collection(parse_docstring=True)
    shown = [argument for argument in arguments if argument.show]
    return {
        name: argument.parameter.help or "" for argument in shown for name in (*argument.names, *argument.negatives)
    }


@cache
def known() -> set[str]:
    """All that may be written after `--`."""
    settings = {name for _, kind in ARCHITECTURES.items() for name in kind.Config.__dataclass_fields__}
    found = {name for command in COMMANDS for name in options(command)} | {f"--settings.{name}" for name in settings}
    tables = {name.partition(".")[0] for name in found if "." in name}
    return found | {f"{table}.NAME" for table in tables} | {"--config", "--json", "--help", "--version"}


def rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of a page's tables with four columns, and their sections."""
    section = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 4:
            yield section, cells


def unknown(text: str) -> list[str]:
    """Options in a text that are none; `.name` after a code's opening tick belongs to the table named before it."""
    wrong: list[str] = []
    names = known()
    for line in text.splitlines():
        table = ""
        for found in re.finditer(r"(?<![\w-])--[a-z][\w.-]*\w(?!/)|(?<=`)\.[a-z][a-z-]+(?=[ `])", line):
            spelled = found[0] if found[0].startswith("--") else table + found[0]
            table = spelled.partition(".")[0]
            if spelled not in names and table not in {"--others", *TORCHRUN}:
                wrong.append(spelled)
    return wrong


def test_every_option_of_a_training_is_explained() -> None:
    page = (DOCS / "training.md").read_text(encoding="utf-8").partition(OTHERS)[0]
    explained: set[str] = set()
    for section, (names, *_, text) in rows(page):
        for name in re.findall(r"`(-?-?[a-z.][\w.-]*)", names):
            table = names.partition("`")[2].partition(".")[0] if name.startswith(".") else ""
            full = TABLES.get(section, table) + name
            assert text, full
            explained.add(full.removesuffix(".NAME"))
    shown = {argument.name for argument in app["train"].assemble_argument_collection() if argument.show}
    assert shown - explained - {"--source", "--target"} == set()


@pytest.mark.parametrize("page", ["training.md", "networks.md"])
def test_options_that_the_docs_name_exist(page: str) -> None:
    ours, _, theirs = (DOCS / page).read_text(encoding="utf-8").partition(OTHERS)
    translated = [line.partition(" | ")[2] for line in theirs.splitlines() if line.startswith("| ")]
    assert unknown(ours) + unknown("\n".join(translated)) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_options_that_help_names_exist(command: str) -> None:
    assert unknown("\n".join(" ".join(text.split()) for text in options(command).values())) == []
