"""Embedded face models and their replacements."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from visagist.core.errors import WeightsError
from visagist.zoo import sessions

PERSON = sessions.FOLDER / sessions.MODELS["person"].file


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the user's `config.toml`."""
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    sessions.cached_session.cache_clear()
    return tmp_path / "config.toml"


def test_a_replacement_is_used_instead_of_the_embedded_model(config: Path) -> None:
    own = config.parent / "mine.onnx"
    own.write_bytes(PERSON.read_bytes())
    config.write_text(f"[weights]\nperson = '{own}'\n")
    assert sessions.locate("person") == own
    assert sessions.session("person").get_inputs()[0].name == "input_1:0"
    assert sessions.model_sha256("person") == sessions.MODELS["person"].sha256
    own.write_bytes(b"another model")
    os.utime(own, ns=(1, 1))
    assert sessions.model_sha256("person") == sha256(b"another model").hexdigest()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"sface = '{PERSON}'", "must take data, not input_1:0"),
        (f"sface = '{__file__}'", "cannot be loaded"),
        ("sface = '/nowhere.onnx'", "missing"),
        ("sfaec = '/nowhere.onnx'", "sfaec"),
        ("sface = 5", "sface needs the path"),
    ],
)
def test_unsuitable_replacements_are_rejected(config: Path, line: str, message: str) -> None:
    config.write_text(f"[weights]\n{line}\n")
    with pytest.raises(WeightsError, match=message):
        sessions.session("sface")


def test_an_altered_embedded_model_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(PERSON.read_bytes())
    data[5000] ^= 1
    (tmp_path / PERSON.name).write_bytes(data)
    monkeypatch.setattr(sessions, "FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="not the one"):
        sessions.locate("person")
