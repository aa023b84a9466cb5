"""Options have a help text, and those that help and docs name exist."""

import re
from functools import cache, reduce
from pathlib import Path

import pytest

from visagist.cli.app import COMMANDS, app
from visagist.models import ARCHITECTURES

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
CONSENT = ("consent new", "consent show", "consent trust", "consent signers", "consent untrust", "consent revoke")
FOREIGN = {"--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--max-restarts"}
FOREIGN |= {"--local-ranks-filter", "--gpus", "--force-reinstall"}  # of torchrun, docker and pip


@cache  # a second each
def options(command: str) -> dict[str, str]:
    """Names of a command's options, including negative forms, and their help texts."""
    arguments = reduce(lambda group, name: group[name], command.split(), app).assemble_argument_collection(
        parse_docstring=True
    )
    shown = [argument for argument in arguments if argument.show]
    return {
        name: argument.parameter.help or "" for argument in shown for name in (*argument.names, *argument.negatives)
    }


@cache
def known() -> set[str]:
    """All known option names, without `--`."""
    settings = {name for _, kind in ARCHITECTURES.items() for name in kind.Config.__dataclass_fields__}
    found = {name for command in (*COMMANDS, *CONSENT) for name in options(command)}
    found |= {f"--settings.{name}" for name in settings}
    tables = {name.partition(".")[0] for name in found if "." in name}
    return found | {f"{table}.NAME" for table in tables} | {"--config", "--json", "--help", "--version"}


def unknown(text: str) -> list[str]:
    """Unknown options in a text; `.name` at the start of a code span belongs to the table named before it."""
    wrong: list[str] = []
    names = known()
    for line in text.splitlines():
        table = ""
        for found in re.finditer(r"(?<![\w-])--[a-z][\w.-]*\w(?!/)|(?<=`)\.[a-z][a-z-]+(?=[ `])", line):
            if found[0].startswith("."):
                if f"{table}.NAME" not in names:
                    continue  # a file name's suffix
                spelled = table + found[0]
            else:
                spelled = found[0]
            table = spelled.partition(".")[0]
            if spelled not in names and table not in {"--others", *FOREIGN}:
                wrong.append(spelled)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_the_docs_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name == "migrate.md":  # whose tables have other programs' options in the first column
        text = "\n".join(line.partition(" | ")[2] if line.startswith("| ") else line for line in text.splitlines())
    assert unknown(re.sub(r"^.*(pip|winget|python -m benchmarks).*$", "", text, flags=re.MULTILINE)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_the_docs_name_exist(page: Path) -> None:
    named = re.findall(r"`visagist ([a-z]+)", page.read_text(encoding="utf-8"))
    assert set(named) <= {*COMMANDS, "consent"}


@pytest.mark.parametrize("command", [*COMMANDS, *CONSENT])
def test_every_option_has_a_help_text(command: str) -> None:
    assert [name for name, text in options(command).items() if not text] == []


@pytest.mark.parametrize("command", [*COMMANDS, *CONSENT])
def test_options_that_help_names_exist(command: str) -> None:
    assert unknown("\n".join(" ".join(text.split()) for text in options(command).values())) == []
