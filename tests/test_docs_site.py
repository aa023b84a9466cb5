"""The documentation: every public name is in it, its commands are commands, its links lead somewhere."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cyclopts import CycloptsError

import visagist
from visagist.cli.app import COMMANDS, app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "tools" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def split(page: Path) -> tuple[list[str], str]:
    """The lines of the shell's code blocks, and all text outside of code blocks."""
    shell, prose, fence = list[str](), list[str](), None
    for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.strip().startswith("```"):
            fence = None if fence is not None else line.strip().removeprefix("```")
        elif fence in ("sh", "console"):
            shell.append(line.strip())
        elif fence is None:
            prose.append(line)
    return shell, "\n".join(prose)


def arguments_of(line: str) -> list[str] | None:
    """The arguments of a `visagist` command, or None if the line is none."""
    match = re.match(r"(?:\.venv/bin/)?visagist (.+)|torchrun .* -m visagist (.+)", line)
    return None if match is None else shlex.split(match[1] or match[2], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_code_blocks_are_accepted(page: Path) -> None:
    for line in split(page)[0]:
        arguments = arguments_of(line)
        if arguments is None or "--config" in arguments:  # whose file is not here
            continue
        app.config = ()
        try:
            app.parse_args([each for each in arguments if each != "--json"], exit_on_error=False, print_error=False)
        except CycloptsError as error:
            pytest.fail(f"{line}: {error}")


def test_the_command_line_reference_has_every_command(site: ModuleType) -> None:
    reference = site.cli()
    assert {name for name in COMMANDS if f"\n## visagist {name}\n" not in f"\n{reference}"} == set()
    assert "### visagist consent new" in reference


def test_the_api_reference_has_every_public_name(site: ModuleType) -> None:
    text = site.api()
    missing = [name for name in visagist.__all__ if not re.search(rf"(#|^::: )visagist\.{name}\b", text, re.MULTILINE)]
    assert missing == []
    listed = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    # Classes that public functions take or return, at any depth.
    for name in (
        "Augmentation",
        "OptimizerOptions",
        "Region",
        "Column",
        "Figure",
        "Finding",
        "Progress",
        "NoFaceError",
    ):
        assert any(each.endswith(f".{name}") for each in listed), name


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == ROOT], ids=lambda page: page.name)
def test_links_of_repository_pages_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", split(page)[1]):
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_the_examples_of_new_parts_run() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"`src/([\w/]+)\.py`[^\n]*\n\n```python\n(.*?)```", text, re.DOTALL)
    extend = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
    examples += [("warmth", code) for code in re.findall(r"```python\n(.*?)```", extend, re.DOTALL)]
    assert len(examples) >= 6
    run = "\n".join(f"exec({code!r}, {{'__name__': {path.replace('/', '.')!r}}})" for path, code in examples)
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)  # they register
    assert done.returncode == 0, done.stderr


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the documentation's tools are not installed: make docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "api.html").read_text(encoding="utf-8")
    missing = {name for name in visagist.__all__ if f'id="visagist.{name}"' not in page}
    assert missing == set()
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="https?:', page)  # nothing is loaded from other servers
