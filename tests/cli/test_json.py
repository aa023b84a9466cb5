"""`--json` prints one JSON value per line, each with its event; options can be given in a file."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.cli.conftest import only_line, visagist
from visagist.demo import TARGET, TARGET_CONSENT


def test_verify_prints_one_json_line(tmp_path: Path) -> None:
    ended = visagist("verify", TARGET, "--json")
    found = only_line(ended)
    assert next(iter(found)) == "event"
    assert (found["event"], found["path"]) == ("summary", str(TARGET))
    assert (ended.code, found["verdict"], found["ok"]) == (1, "no evidence", False)
    missing = visagist("verify", tmp_path / "none.mp4", "--json")
    assert (missing.code, only_line(missing)["event"]) == (1, "error")


def test_doctor_prints_one_json_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    ended = visagist("doctor", "--json")
    found = only_line(ended)
    assert found["event"] == "summary"
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert {"device", "encoder", "signer"} <= set(by_name)
    assert found["ok"] == all(finding["is_well"] for finding in found["findings"]) == (ended.code == 0)
    (tmp_path / "config.toml").write_text("[signer]\nkey = 'none.pem'\ncertificate = 'none.pem'\n")
    ended = visagist("doctor", "--json")
    found = only_line(ended)
    assert (ended.code, found["ok"]) == (1, False)
    signer = next(finding for finding in found["findings"] if finding["name"] == "signer")
    assert not signer["is_well"]


def test_every_argument_can_be_given_in_a_file(tmp_path: Path) -> None:
    file, record = tmp_path / "options.toml", tmp_path / "record.toml"

    def call(*command: str, **values: object) -> dict[str, Any]:
        file.write_text(tomli_w.dumps(values))
        return only_line(visagist(*command, "--config", file, "--json"))

    assert call("verify", file=str(TARGET))["verdict"] == "no evidence"
    made = call("consent", "new", record=str(record), name="Ada", adult=True, basis="self", statement="Yes.",
                scope="a test", date="2026-01-31", footage=[str(TARGET)])  # fmt: skip
    assert made["record"] == str(record)
    assert call("consent", "show", record=str(TARGET_CONSENT))["footage"] == 1
    assert call("consent", "trust", fingerprint="ab" * 32, note="Bert")["known"]
    assert not call("consent", "untrust", fingerprint="ab" * 32)["known"]
