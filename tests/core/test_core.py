"""Atomic files, settings, face models, the machine."""

import errno
from pathlib import Path

import pytest

from visagist.core.errors import ConfigError, OutputError, WeightsError
from visagist.core.files import atomic, write_atomic
from visagist.core.settings import read_toml, save_call
from visagist.jobs.diagnostics import examine
from visagist.media import EncodeOptions
from visagist.zoo import sessions as weights


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    with pytest.raises(ValueError, match="stop"), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise ValueError("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), atomic(tmp_path / "file") as temporary:
        temporary.touch()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_under_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "file" / "below", "text")


def test_settings_name_file_and_field(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text("crf = 'high'")
    with pytest.raises(ConfigError, match=r"options\.toml: crf"):
        EncodeOptions.load(path)
    path.write_text("nonsense = 1")
    with pytest.raises(ConfigError, match="nonsense"):
        EncodeOptions.load(path)


def test_a_saved_call_holds_no_empty_values(tmp_path: Path) -> None:
    save_call(tmp_path / "call.toml", {"a": Path("x"), "b": None, "c": {"d": None}, "e": {"f": 1}})
    assert read_toml(tmp_path / "call.toml") == {"a": str(Path("x").absolute()), "e": {"f": 1}}


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    weights.session.cache_clear()
    return tmp_path


def test_a_users_own_model_takes_the_place(own_models: Path) -> None:
    own = own_models / "mine.onnx"
    own.write_bytes((weights.FOLDER / weights.MODELS["person"].file).read_bytes())
    (own_models / "config.toml").write_text(f"[weights]\nperson = '{own}'\n")
    assert weights.locate("person") == own
    assert weights.session("person").get_inputs()[0].name == "input_1:0"


def test_a_model_with_other_inputs_is_refused(own_models: Path) -> None:
    other = weights.FOLDER / weights.MODELS["person"].file
    (own_models / "config.toml").write_text(f"[weights]\nsface = '{other}'\n")
    with pytest.raises(WeightsError, match="must take"):
        weights.session("sface")


def test_a_broken_or_missing_or_unknown_model_is_refused(own_models: Path) -> None:
    broken = own_models / "broken.onnx"
    broken.write_bytes(b"no onnx")
    config = own_models / "config.toml"
    config.write_text(f"[weights]\nsface = '{broken}'\n")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        weights.session("sface")
    config.write_text("[weights]\nsface = '/nowhere.onnx'\n")
    with pytest.raises(WeightsError, match="missing"):
        weights.session("sface")
    config.write_text("[weights]\nsfaec = '/nowhere.onnx'\n")
    with pytest.raises(WeightsError, match="sfaec"):
        weights.session("sface")


def test_an_altered_embedded_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray((weights.FOLDER / weights.MODELS["person"].file).read_bytes())
    data[5000] ^= 1
    (tmp_path / weights.MODELS["person"].file).write_bytes(data)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(WeightsError, match="not the one"):
        weights.locate("person")


def test_the_doctor_finds_what_is_here(own_models: Path) -> None:
    findings = examine("cpu")
    names = {finding.name for finding in findings}
    assert {"device", "encoder", "decoders", "model", "signer", "disk"} <= names
    assert all(finding.is_well for finding in findings if finding.name in ("model", "encoder", "signer"))
    assert not examine("cuda:99")[1].is_well
