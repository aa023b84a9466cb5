"""The rooms of the house may only import downwards (DESIGN: Rooms)."""

import ast
from pathlib import Path

import pytest

import visagist

PACKAGE = Path(visagist.__file__).parent

# Bottom to top: a room may import those of its own set, and nothing else of visagist.
ROOT = {"errors", "events", "files", "locks", "settings", "weights", "device", "__version__"}
MAY_IMPORT: dict[str, set[str]] = {
    "media": ROOT,
    "provenance": ROOT | {"media"},
    "faces": ROOT | {"media"},
    "faceset": ROOT | {"media", "faces"},
    "models": ROOT,
    "training": ROOT | {"media", "provenance", "faces", "faceset", "models"},
    "merging": ROOT | {"media", "provenance", "faces", "faceset", "models", "training"},
    "evaluation": ROOT | {"media", "provenance", "faces", "faceset", "models", "training", "merging"},
    "workspace": ROOT | {"media", "provenance", "faces", "faceset", "models", "training", "merging", "demo"},
    "machine": ROOT | {"media", "provenance"},
    "demo": set(ROOT),
}


def imported(path: Path) -> set[str]:
    """Names of the rooms that a file imports, absolutely (the only way in this house)."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "visagist":
                rooms |= {alias.name for alias in node.names}
            elif node.module and node.module.startswith("visagist."):
                rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("visagist.")}
    return rooms


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports_only_downwards(room: str) -> None:
    folder = PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]
    assert files
    for path in files:
        wrong = imported(path) - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(wrong))}"


def test_every_room_has_its_rule() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert rooms - {"__init__", "__main__", "cli"} == set(MAY_IMPORT) | ROOT - {"__version__"}


def test_root_modules_import_only_root() -> None:
    for name in ROOT - {"__version__"}:
        wrong = imported(PACKAGE / f"{name}.py") - ROOT
        assert not wrong, f"{name}.py imports {', '.join(sorted(wrong))}"


def test_nothing_imports_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "__main__.py"):
            assert "cli" not in imported(path), f"{path.relative_to(PACKAGE)} imports the command line"


def test_no_file_is_over_600_lines() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path
