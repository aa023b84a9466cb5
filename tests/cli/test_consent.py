"""`visagist consent`: the same information as text and as JSON."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import only_line, visagist
from visagist.core.files import sha256
from visagist.demo import TARGET, TARGET_CONSENT
from visagist.media import write_picture
from visagist.provenance import load_consent

FINGERPRINT = "ab" * 32


@pytest.fixture
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config folder for the test."""
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path / "config"))


def test_new_and_show_print_one_json_line(tmp_path: Path) -> None:
    path = tmp_path / "record.toml"
    new = ("consent", "new", path, "--name", "Ada", "--adult", "--basis", "self", "--statement", "I agree.\nTwice.",
           "--scope", "a test", "--date", "2026-01-31", "--footage", TARGET)  # fmt: skip
    made = only_line(visagist(*new, "--json"))
    record = load_consent(path)
    facts = {"event": "summary", "record": str(path), "id": record.id, "sha256": sha256(path)}
    assert made == facts
    assert only_line(visagist("--json", "consent", "show", path)) == {
        **facts,
        "name": "Ada",
        "basis": "self",
        "date": "2026-01-31",
        "statement": "I agree.\nTwice.",
        "scope": "a test",
        "pictures": 0,
        "footage": 1,
        "expires": None,
        "uses": [],
        "targets": 0,
        "revoked": None,
    }


def test_show_prints_the_same_as_text() -> None:
    record = load_consent(TARGET_CONSENT)
    shown = visagist("consent", "show", TARGET_CONSENT)
    assert shown.code == 0, shown.err
    for fact in (record.id, sha256(TARGET_CONSENT), record.name, record.basis, str(record.date), record.scope.strip()):
        assert fact in shown.out


@pytest.mark.usefixtures("own_list")
def test_signers_print_one_json_line() -> None:
    own = only_line(visagist("consent", "signers", "--json"))["own"]
    trusted = only_line(visagist("consent", "trust", FINGERPRINT, "--note", "Bert", "--json"))
    assert trusted == {"event": "summary", "fingerprint": FINGERPRINT, "known": True, "note": "Bert"}
    signers = only_line(visagist("consent", "signers", "--json"))
    assert signers == {"event": "summary", "own": own, "known": {FINGERPRINT: "Bert"}}
    assert visagist("consent", "signers").out.splitlines() == [f"{FINGERPRINT}: Bert", f"{own}: your own"]
    removed = only_line(visagist("consent", "untrust", FINGERPRINT, "--json"))
    assert removed == {"event": "summary", "fingerprint": FINGERPRINT, "known": False, "note": None}
    assert only_line(visagist("consent", "signers", "--json"))["known"] == {}


def test_a_picture_without_a_face_is_refused(tmp_path: Path) -> None:
    picture, record = tmp_path / "grey.png", tmp_path / "record.toml"
    write_picture(picture, np.full((64, 64, 3), 0.5, np.float32))
    ended = visagist("consent", "new", record, "--name", "Ada", "--adult", "--basis", "self", "--statement", "Yes.",
                     "--scope", "a test", "--picture", picture)  # fmt: skip
    assert ended.code == 1
    assert "shows 0 faces" in ended.err
    assert not record.exists()
