"""Each package may only import the packages below it (see CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

import visagist

PACKAGE = Path(visagist.__file__).parent

# Bottom to top: a package may import itself and the packages listed, and nothing else of visagist.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "demo": {"core"},
    "media": {"core"},
    "zoo": {"core", "media"},
    "provenance": {"core", "media", "zoo"},
    "faces": {"core", "media", "zoo"},
    "masks": {"core", "media", "zoo", "faces"},
    "faceset": {"core", "media", "zoo", "faces", "masks"},
    "models": {"core"},
    "training": {"core", "media", "zoo", "faces", "masks", "faceset", "models"},
    "merging": {"core", "media", "zoo", "faces", "masks", "models"},
    "evaluation": {"core", "media", "zoo", "provenance", "faces", "masks", "faceset", "models", "merging"},
    "jobs": {
        "core", "demo", "media", "zoo", "provenance", "faces", "masks", "faceset", "models", "training", "merging",
        "evaluation",
    },
}  # fmt: skip


def modules() -> dict[str, Path]:
    """All modules by dotted name."""
    found: dict[str, Path] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path], at_load: bool = False) -> set[str]:
    """The modules of visagist that a file imports; `at_load`: only those imported when it is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _loaded(tree) if at_load else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module and node.module.split(".")[0] == "visagist":
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in known else node.module for name in inner}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "visagist"}
    return names


def _loaded(tree: ast.Module) -> list[ast.AST]:
    """The nodes outside functions and `TYPE_CHECKING` blocks."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_downwards(package: str) -> None:
    known = modules()
    files = sorted((PACKAGE / package).rglob("*.py"))
    assert files
    for path in files:
        found = {name.split(".")[1] for name in imported(path, known) if "." in name}
        wrong = found - MAY_IMPORT[package] - {package}
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(wrong))}"


def test_every_package_has_its_rule() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert packages - {"cli"} == set(MAY_IMPORT)
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__"}


def test_nothing_imports_the_command_line() -> None:
    known = modules()
    for path in known.values():
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "__main__.py"):
            found = imported(path, known)
            assert not any(name.startswith("visagist.cli") for name in found), f"{path} imports the command line"


def test_no_import_cycles() -> None:
    known = modules()
    waits_for = {name: imported(path, known, at_load=True) & known.keys() - {name} for name, path in known.items()}
    waits_for.pop("visagist")  # loads its names at first use
    # A package's __init__ may gather its modules: those import each other by their own names, never from the package.
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join((*above[above.index(name) :], name))}"
        if name not in done:
            for other in sorted(waits_for.get(name, ())):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(waits_for):
        visit(name, ())
