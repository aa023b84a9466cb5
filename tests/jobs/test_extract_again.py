"""Repeated extraction into an existing faceset, with equivalent and with different options."""

import json
from pathlib import Path

import numpy as np
import pytest

from visagist.core.errors import ConfigError, FacesetError, NoFaceError
from visagist.core.events import silent
from visagist.demo import SOURCE, TARGET
from visagist.faceset import Faceset
from visagist.jobs.extract import ExtractOptions, extract_faceset
from visagist.media import Reader, write_picture

CLIPS = [SOURCE / "s1_bbaf2n.mpg", TARGET]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def extract(footage: Path | list[Path], folder: Path, tables: Path, **options: object) -> Faceset:
    return extract_faceset(footage, folder, ExtractOptions.model_validate(options), silent, tables)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A picture of the target's speaker."""
    with Reader(TARGET, first=30, last=30) as reader:
        write_picture(tmp_path / "speaker.png", next(iter(reader)).rgb())
    return tmp_path / "speaker.png"


def test_the_same_person_by_number_or_picture_gives_the_same_faceset(
    tables: Path, reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "faceset"
    made = extract(CLIPS, folder, tables, reference=reference)
    assert made.summary is not None
    identity = made.summary.identity
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for options in ({"identity": identity}, {"reference": reference, "allow_damaged": False}):
        assert extract(CLIPS, folder, tables, **options) == made
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    with pytest.raises(FacesetError, match=f"other options .--identity was {identity}, now {1 - identity}"):
        extract(CLIPS, folder, tables, identity=1 - identity)


def test_different_options_are_named_with_both_values(tables: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faceset"
    extract(TARGET, folder, tables, min_size=50)
    changed = r"\(--min-size was 50.0, now 40.0, --format was jpeg, now png\)"
    with pytest.raises(FacesetError, match=changed):
        extract(TARGET, folder, tables, format="png")


def test_a_faceset_of_another_version_is_refused(tables: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faceset"
    extract(TARGET, folder, tables)
    state = json.loads((folder / "extract.json").read_text())
    state["key"]["version"] += 1
    (folder / "extract.json").write_text(json.dumps(state))
    with pytest.raises(FacesetError, match="another version of visagist"):
        extract(TARGET, folder, tables)


def test_thresholds_can_be_lowered_after_leaving_no_crop(tables: Path, tmp_path: Path) -> None:
    """It was once refused as another faceset, although the message had suggested lower thresholds."""
    folder = tmp_path / "faceset"
    with pytest.raises(FacesetError, match="75 tiny"):
        extract(TARGET, folder, tables, min_size=9000)
    assert len(extract(TARGET, folder, tables)) > 60


def test_every_nth_frame_is_analysed(tables: Path, tmp_path: Path) -> None:
    every = extract(TARGET, tmp_path / "all", tables, min_change=0)
    tenth = extract(TARGET, tmp_path / "tenth", tmp_path / "tables", min_change=0, every=10)
    assert [record.frame for record in tenth.records] == list(range(0, 75, 10))
    assert tenth.summary is not None
    assert (tenth.summary.frames, tenth.summary.faces, tenth.summary.others) == (75, 8, 0)
    landmarks = {record.frame: np.array(record.landmarks) for record in every.records}
    for record in tenth.records:  # crops are smoothed less, so the face may lie a little elsewhere in them
        assert np.abs(np.array(record.landmarks) - landmarks[record.frame]).mean() < 0.02 * record.size


def test_the_detector_finds_nothing_below_its_threshold(tmp_path: Path) -> None:
    with pytest.raises(NoFaceError):
        extract(TARGET, tmp_path / "faceset", tmp_path / "tables", threshold=0.99)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_sharpness", 7), ("min_sharpness", -0.1), ("min_size", -3), ("min_size", float("inf")),
        ("min_score", 99), ("min_change", -1), ("max_crop_size", 64), ("max_crop_size", 5000), ("every", 0),
        ("threshold", 0), ("threshold", 1.5), ("identity", -1),
    ],
)  # fmt: skip
def test_nonsensical_values_are_refused_with_their_option(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        ExtractOptions.parse({name: value}, "options")
