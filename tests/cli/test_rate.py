"""`--rate`: the frame rate of image sequences."""

import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import visagist
from visagist.demo import SOURCE_CONSENT
from visagist.faces import FaceTable, footage_sha256
from visagist.media import Reader, probe, write_picture
from visagist.provenance import load_consent

FILM = Fraction(24000, 1001)


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    """Six grey pictures without a face."""
    for number in range(6):
        write_picture(tmp_path / "plates" / f"shot_{number:04d}.png", np.full((64, 96, 3), 60 + 20 * number, np.uint8))
    return tmp_path / "plates"


def times(path: Path) -> list[Fraction]:
    with Reader(path) as frames:
        return [frame.time for frame in frames]


def test_a_sequence_is_bound_by_hash_and_rendered_at_its_rate(plates: Path, tmp_path: Path) -> None:
    record, output = tmp_path / "record.toml", tmp_path / "out.mp4"
    made = visagist("consent", "new", record, "--name", "nobody", "--adult", "--basis", "synthetic", "--statement",
                    "a test", "--scope", "test", "--footage", plates)  # fmt: skip
    assert made.code == 0, made.err
    assert load_consent(record).footage_sha256 == (footage_sha256(probe(plates)),)
    merge = ("merge", plates, "-o", output, "--source-consent", SOURCE_CONSENT, "--target-consent", record,
             "--allow-no-face")  # fmt: skip

    ended = visagist(*merge)
    assert ended.code == 0, ended.err
    assert "image sequence: read at 25 frames/s; change it with --rate" in ended.err
    assert times(output) == [Fraction(number, 25) for number in range(6)]

    # Another rate is another merge, also in the same workspace.
    ended = visagist(*merge, "--rate", "23.976")
    assert ended.code == 0, ended.err
    assert "read at 24000/1001 frames/s" in ended.err
    assert "--rate says" not in ended.err
    assert times(output) == [number / FILM for number in range(6)]
    table = FaceTable.load(tmp_path / "out.mp4.workspace" / "tables" / "plates.parquet")
    assert table.metadata["rate"] == "24000/1001"

    saved = tmp_path / "out.mp4.toml"
    assert tomllib.loads(saved.read_text())["rate"] == "24000/1001"
    again = tmp_path / "again.mov"
    ended = visagist("merge", "--config", saved, "-o", again)
    assert ended.code == 0, ended.err
    assert times(again) == times(output)


@pytest.mark.parametrize(
    "command",
    [
        "swap x y -o z.mp4 --source-consent x.toml --target-consent y.toml",
        "extract x -o y",
        "merge x -o y.mp4 --source-consent x.toml --target-consent y.toml",
        "evaluate x --target y --source z",
    ],
)
def test_an_invalid_rate_is_a_usage_error(command: str) -> None:
    ended = visagist(*command.split(), "--rate", "24/0")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "--rate: '24/0' is not a frame rate" in line
