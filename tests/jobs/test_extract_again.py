"""A faceset that is there, asked for again: the same by other words, or another one."""

import json
from pathlib import Path

import pytest

from visagist.core.errors import FacesetError
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


def test_the_same_person_by_number_or_picture_is_the_same_faceset(
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
    with pytest.raises(FacesetError, match=f"other options .person was {identity}, now {1 - identity}"):
        extract(CLIPS, folder, tables, identity=1 - identity)


def test_options_that_differ_are_named_with_both_values(tables: Path, tmp_path: Path) -> None:
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
