"""Registries: names without imports, lazy loading and third-party parts."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

from visagist.core.errors import ConfigError
from visagist.core.registry import Registry

GROUP = "visagist_test.shapes"
PACKAGE = """
from visagist.core.registry import Registry
SHAPES = Registry("shape", __name__, "visagist_test.shapes", besides=("helpers",))
"""
SQUARE = """
from {package} import SHAPES
@SHAPES.register
def square(): return 4
"""


def distribution(folder: Path, name: str, **entries: str) -> None:
    """The metadata of an installed distribution with entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{entry} = {value}" for entry, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")


@pytest.fixture
def shapes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """The registry of a temporary package with the parts `circle` and `square`."""
    name = f"shapes_{abs(hash(request.node.nodeid))}"
    package = tmp_path / name
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    (package / "inner" / "__init__.py").touch()
    for other in ("helpers.py", "_private.py"):
        (package / other).touch()
    (package / "square.py").write_text(SQUARE.format(package=name))
    (package / "circle.py").write_text(f"import {name}\n{name}.SHAPES.register((1, 2), __name__)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return __import__(name).SHAPES


def test_parts_are_named_after_their_files_without_importing_them(shapes: Registry[Any]) -> None:
    assert shapes.names == ("circle", "square") == tuple(shapes)
    assert "square" in shapes
    assert "helpers" not in shapes
    assert not [name for name in sys.modules if name.startswith(f"{shapes.package}.")]


def test_a_part_is_imported_alone_on_first_use(shapes: Registry[Any]) -> None:
    assert shapes["square"]() == 4
    assert f"{shapes.package}.circle" not in sys.modules
    assert [(name, type(part).__name__) for name, part in shapes.items()] == [
        ("circle", "tuple"),
        ("square", "function"),
    ]


def test_entry_points_add_third_party_parts(
    shapes: Registry[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    program = f"from {shapes.package} import SHAPES\n@SHAPES.register\ndef draw(): return 3\n"
    (other / "their_shapes.py").write_text(program)  # registering here has no effect
    distribution(other, "theirs", triangle="their_shapes:draw", gone="their_shapes:gone", lost="no_such_module:draw")
    monkeypatch.syspath_prepend(str(other))
    monkeypatch.syspath_prepend(str(other) + "/")  # found twice, as with PYTHONPATH and an editable installation
    assert shapes.names == ("circle", "square", "gone", "lost", "triangle")
    assert "their_shapes" not in sys.modules
    assert shapes["triangle"]() == 3
    assert shapes.names == ("circle", "square", "gone", "lost", "triangle")
    for broken in ("gone", "lost"):
        with pytest.raises(ConfigError, match=f"{broken}.*theirs"):
            shapes[broken]


@pytest.mark.parametrize("names", [("square",), ("hexagon", "hexagon")])
def test_duplicate_names_are_rejected_naming_both_origins(
    names: tuple[str, ...], shapes: Registry[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(names):
        distribution(tmp_path, f"theirs{number}", **{name: f"module{number}:part"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=f"{names[0]}.*module.*theirs"):
        list(shapes)


def test_an_unknown_name_is_rejected_listing_the_available_ones(shapes: Registry[Any]) -> None:
    with pytest.raises(ConfigError, match=r"shape 'sqare'.*circle, square"):
        shapes["sqare"]


def test_a_module_that_registers_nothing_is_named(shapes: Registry[Any], tmp_path: Path) -> None:
    (tmp_path / shapes.package / "blank.py").touch()
    with pytest.raises(ConfigError, match=rf"{shapes.package}\.blank"):
        shapes["blank"]


def test_parts_registered_in_a_notebook_have_the_given_name(shapes: Registry[Any]) -> None:
    shapes.register(5, name="mine")
    assert shapes["mine"] == 5
    assert shapes.names == ("circle", "square", "mine")


def test_choice_validates_and_appears_in_the_schema(shapes: Registry[Any]) -> None:
    if TYPE_CHECKING:
        Shape = str
    else:
        Shape = shapes.choice

    class Options(BaseModel):
        shape: Shape = "square"

    assert Options(shape="circle").shape == "circle"
    assert Options.model_json_schema()["properties"]["shape"]["enum"] == ["circle", "square"]
    with pytest.raises(ValidationError, match="'circle' or 'square'"):
        Options(shape="cube")
    shapes.register(6, name="cube")  # in a notebook, after the import of the options
    assert Options(shape="cube").shape == "cube"
