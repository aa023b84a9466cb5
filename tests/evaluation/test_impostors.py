"""The bundled embeddings of unrelated people."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from visagist import demo
from visagist.evaluation.evaluation_data import FaceObservations, Source
from visagist.evaluation.impostors import FILE, impostors_for, read_impostors

TOOL = Path(__file__).parents[2] / "tools" / "impostors.py"


def source(independent: NDArray[np.float32]) -> Source:
    pixels, count = np.zeros((1, 1, 1), np.uint8), len(independent)
    return Source(pixels, pixels, np.zeros((count, 478, 3)), np.zeros((count, 3)), independent, independent)


def appearance(independent: NDArray[np.float32]) -> FaceObservations:
    pixels, count = np.zeros((1, 1, 1, 3), np.uint8), len(independent)
    unknown = {"landmarks": (478, 3), "scores": (), "poses": (3,), "blendshapes": (52,), "outside": ()}
    rows = {name: np.full((count, *shape), np.nan, np.float32) for name, shape in unknown.items()}
    return FaceObservations("target", pixels, independent=independent, sface=independent, **rows)


def test_the_file_holds_several_views_of_five_people() -> None:
    people = read_impostors()
    assert len(people) == 5
    for rows in people.values():
        assert rows.shape == (8, 128)
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)
        assert (rows @ rows.T).min() > 0.96
    assert "CC BY" in json.loads(FILE.read_text("utf-8"))["origin"]


def test_the_file_matches_the_current_embedder() -> None:
    """If the chip or the weights change, `tools/impostors.py` must be run again."""
    if not TOOL.is_file():
        pytest.skip("tools/ is not part of an installed package")
    spec = importlib.util.spec_from_file_location("impostors_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    made = tool.views(demo.TARGET)
    kept = json.loads(FILE.read_text("utf-8"))["people"]["sbia1a"]
    assert [(view["clip"], view["frame"]) for view in made] == [(view["clip"], view["frame"]) for view in kept]
    for ours, theirs in zip(made, kept, strict=True):
        assert np.dot(ours["embedding"], theirs["embedding"]) > 0.999


def test_source_and_performer_are_excluded() -> None:
    people = read_impostors()
    others = impostors_for(source(people["s1"]), appearance(people["sbia1a"]))
    assert others.shape == (3, 128)
    assert others.dtype == np.float32
    for own in (people["s1"], people["sbia1a"]):
        assert (others @ own.T).max() < 0.92
    assert len(impostors_for(source(people["s1"]), appearance(people["s1"]))) == 4


def test_an_unknown_performer_excludes_no_one() -> None:
    people = read_impostors()
    assert len(impostors_for(source(people["s1"]), appearance(np.full((4, 128), np.nan, np.float32)))) == 4


def test_a_replaced_model_has_no_impostors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[weights]\ndlib = "/models/mine.onnx"\n')
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    people = read_impostors()
    assert impostors_for(source(people["s1"]), appearance(people["sbia1a"])).shape == (0, 128)
