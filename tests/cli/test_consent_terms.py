"""Expiry, scope and revocation of consent records: checked at merge, stated in the credentials."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import CLIPS, Swap, only_line, visagist
from visagist import load_consent, new_consent, revoke_consent
from visagist.core.files import sha256
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT

DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def own_revocations(swapped: Swap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config folder for the test, so that revocations concern no other test; the shared swap was signed before."""
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path / "config"))


def record(path: Path, **terms: Any) -> Path:
    """A record of the target's speaker with these terms."""
    new_consent(
        path, name="speaker", adult=True, basis="research-corpus", statement="a test", scope="test",
        date=datetime.date(2026, 1, 1), footage=[TARGET], **terms,
    )  # fmt: skip
    return path


def merge(swapped: Swap, output: Path, target_record: Path, *more: str) -> Any:
    return visagist(
        "merge", TARGET, "--run", swapped.workspace / "run", "-o", output, "--source-consent", SOURCE_CONSENT,
        "--target-consent", target_record, "--frames", "0-3", *more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ({"expires": datetime.date(2026, 1, 2)}, (), "expired on 2026-01-02"),
        ({"uses": ["film"]}, (), "states none"),
        ({"uses": ["film"]}, ("--use", "advertising"), "states 'advertising'"),
        ({"targets": [SOURCE / CLIPS[0]]}, (), "covers other footage only"),
    ],
)
@pytest.mark.parametrize("command", ["merge", "preview", "swap"])
def test_terms_that_do_not_cover_a_render_refuse_it(
    command: str, terms: dict[str, Any], options: tuple[str, ...], message: str, swapped: Swap, tmp_path: Path
) -> None:
    output, path = tmp_path / "out.mp4", record(tmp_path / "r.toml", **terms)
    if command == "merge":
        ended = merge(swapped, output, path, *options)
    elif command == "preview":
        output = output.with_suffix(".png")
        ended = visagist(
            "merge", TARGET, "--run", swapped.workspace / "run", "-o", output, "--source-consent", SOURCE_CONSENT,
            "--target-consent", path, "--preview", "5", "--workspace", swapped.workspace, *options,
        )  # fmt: skip
    else:
        arguments = [*swapped.arguments]
        arguments[arguments.index("--target-consent") + 1] = path
        arguments[arguments.index("-o") + 1] = output
        ended = visagist(*arguments, "--workspace", swapped.workspace, *options)
    assert ended.code == 1
    assert message in ended.err
    assert "r.toml (--target-consent)" in ended.err
    assert not output.exists()


def test_a_revoked_record_is_refused_even_if_edited(swapped: Swap, tmp_path: Path) -> None:
    path = record(tmp_path / "r.toml")
    number = only_line(visagist("consent", "revoke", path, "--reason", "withdrawn", "--json"))["id"]
    assert number == load_consent(path).id == revoke_consent(number, "withdrawn")
    path.write_text(path.read_text().replace('"a test"', '"another statement"'))
    ended = merge(swapped, tmp_path / "out.mp4", path)
    assert ended.code == 1
    assert "(withdrawn); nothing may be rendered under it" in ended.err
    assert "REVOKED" in visagist("consent", "show", path).out


def test_credentials_state_the_terms(swapped: Swap, tmp_path: Path) -> None:
    expires = datetime.date.today() + DAY
    path = record(tmp_path / "r.toml", expires=expires, uses=["film", "test"], targets=[TARGET])
    ended = merge(swapped, tmp_path / "out.mp4", path, "--use", "test")
    assert ended.code == 0, ended.err
    shown = visagist("verify", tmp_path / "out.mp4")
    assert shown.code == 0
    for fact in (
        sha256(path),
        f"expires {expires}: valid when signed on",
        "uses film, test: kept",
        "limited to 1 target",
    ):
        assert fact in shown.out
    found = only_line(visagist("verify", tmp_path / "out.mp4", "--json"))
    assert found["use"] == "test"
    assert found["terms"][0] == ""  # the bundled record has no limits


def test_exchanged_records_are_refused_before_the_extraction(source: Path, tmp_path: Path) -> None:
    """The bundled records are bound by hashes alone, which decide at once."""
    ended = visagist(
        "swap", source, TARGET, "-o", tmp_path / "out.mp4", "--source-consent", TARGET_CONSENT, "--target-consent",
        SOURCE_CONSENT,
    )  # fmt: skip
    assert ended.code == 1
    assert "not covered by hash" in ended.err
    assert not (tmp_path / "out.mp4.workspace").exists()
