"""Atomic writes, settings files and diagnostics."""

import errno
from pathlib import Path

import pytest

from visagist.core.errors import ConfigError, OutputError
from visagist.core.files import atomic, write_atomic
from visagist.core.settings import read_toml, save_call
from visagist.jobs.diagnostics import examine
from visagist.media import EncodeOptions


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    with pytest.raises(ValueError, match="stop"), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise ValueError("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_raises_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"), atomic(tmp_path / "file") as temporary:
        temporary.touch()
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_parent_that_is_a_file_raises_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_atomic(tmp_path / "file" / "below", "text")


def test_settings_errors_name_file_and_field(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text("crf = 'high'")
    with pytest.raises(ConfigError, match=r"options\.toml: crf"):
        EncodeOptions.load(path)
    path.write_text("nonsense = 1")
    with pytest.raises(ConfigError, match="nonsense"):
        EncodeOptions.load(path)


def test_a_saved_call_omits_empty_values(tmp_path: Path) -> None:
    save_call(tmp_path / "call.toml", {"a": Path("x"), "b": None, "c": {"d": None}, "e": {"f": 1}})
    assert read_toml(tmp_path / "call.toml") == {"a": str(Path("x").absolute()), "e": {"f": 1}}


def test_doctor_reports_devices_encoders_and_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    findings = examine("cpu")
    names = {finding.name for finding in findings}
    assert {"device", "encoder", "decoders", "model", "signer", "disk"} <= names
    assert all(finding.is_well for finding in findings if finding.name in ("model", "encoder", "signer"))
    assert not examine("cuda:99")[1].is_well
