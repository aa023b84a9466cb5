"""Merges that share a workspace at the same time."""

from pathlib import Path

import pytest

from tests.cli.conftest import Swap, stopped_when, visagist
from visagist.demo import SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.media import Reader

CONSENTS = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)


def is_merging(event: dict[str, object]) -> bool:
    return event["event"] == "progress" and event["step"] == "merge"


@pytest.fixture
def merge(swapped: Swap, tmp_path: Path) -> tuple[str | Path, ...]:
    run = swapped.workspace / "run"
    return ("merge", TARGET, "--run", run, *CONSENTS, "--workspace", tmp_path / "shared", "--frames", "0-39")


def test_a_finishing_merge_keeps_the_chunks_of_another(merge: tuple[str | Path, ...], tmp_path: Path) -> None:
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    with stopped_when(is_merging, *merge, "-o", one) as process:
        ended = visagist(*merge, "-o", other, "--color", "none")
        assert ended.code == 0, ended.err
    assert process.returncode == 0
    for output in (one, other):
        with Reader(output) as reader:
            assert sum(1 for _ in reader) == 40
        assert visagist("verify", output).code == 0
    assert not [path for path in (tmp_path / "shared" / "merge").iterdir() if path.is_dir()]  # locks may stay


def test_the_same_output_is_one_merge_at_a_time(merge: tuple[str | Path, ...], tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    with stopped_when(is_merging, *merge, "-o", output) as process:
        for options in ((), ("--color", "none")):
            refused = visagist(*merge, "-o", output, *options)
            assert refused.code == 1
            assert "out.mp4: another merge" in refused.err.strip().splitlines()[-1]
    assert process.returncode == 0
    assert visagist("verify", output).code == 0
    assert visagist(*merge, "-o", output).code == 0
