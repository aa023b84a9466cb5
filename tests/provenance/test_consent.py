"""Consent records: validation, binding to a person, and comparison with faces."""

import datetime
import hashlib
import tomllib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import visagist
from visagist.core.errors import ConsentError, FootageError
from visagist.core.files import sha256
from visagist.media import footage_sha256, probe
from visagist.provenance import Consent, check_person, load_consent, new_consent, read_consent
from visagist.provenance.consent import SAME_PERSON, commented, same_person

DEMO = Path(visagist.__file__).parent / "demo"
Write = Callable[[Path], Path]
PERSON = np.eye(128)[0]


def at_cosine(cosine: float) -> np.ndarray:
    """A vector with this cosine to `PERSON`."""
    return cosine * np.eye(128)[0] + np.sqrt(1 - cosine**2) * np.eye(128)[1]


def never(path: Path) -> Sequence[np.ndarray]:
    raise AssertionError(f"{path} need not be looked at")


def make(path: Path, **changes: Any) -> Consent:
    values: dict[str, Any] = {
        "name": 'Mr "X" \\ Ünal',
        "adult": True,
        "basis": "signed-release",
        "statement": 'Agreed to "everything".\nSecond line.',
        "scope": "One short film.",
        "date": datetime.date(2026, 1, 31),
        "pictures": [],
        "footage": [],
        "document": None,
        "embed": lambda _: [PERSON],
    }
    return new_consent(path, **{**values, **changes})


@pytest.fixture
def picture(tmp_path: Path, write: Write) -> Path:
    return write(tmp_path / "pictures" / "front.png")


def test_a_new_record_reads_back_and_explains_itself(tmp_path: Path, picture: Path, target: Path) -> None:
    path = tmp_path / "records" / "x.toml"
    document = tmp_path / "release.pdf"
    document.write_bytes(b"signed")
    record = make(path, pictures=[picture], footage=[target], document=document)
    assert load_consent(path) == record
    assert record.pictures[0].path == "../pictures/front.png"
    assert record.footage_sha256 == (sha256(target),)
    assert record.document_sha256 == sha256(document)
    assert read_consent(path)[1] == sha256(path)
    text = path.read_text(encoding="utf-8")
    assert all(f"# {field.description}\n" in text for field in Consent.model_fields.values())
    assert make(tmp_path / "y.toml", pictures=[picture]).id != record.id


@given(st.text(min_size=1).filter(lambda text: text.isprintable() or "\n" in text), st.text(min_size=1))
def test_any_text_survives_a_round_trip(name: str, statement: str) -> None:
    record = Consent.model_validate(
        {
            "version": 1,
            "id": "0" * 32,
            "name": name,
            "adult": True,
            "basis": "self",
            "statement": statement,
            "date": datetime.date(2026, 1, 1),
            "scope": "tests",
            "footage_sha256": ["0" * 64],
        }
    )
    assert Consent.model_validate(tomllib.loads(commented(record))) == record


def test_a_record_is_never_overwritten(tmp_path: Path, target: Path) -> None:
    make(tmp_path / "x.toml", footage=[target])
    with pytest.raises(ConsentError, match="never overwritten"):
        make(tmp_path / "x.toml", footage=[target])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adult": False}, "adult"),
        ({"footage": []}, "not bound to a person"),
        ({"date": datetime.date(2999, 1, 1)}, "future"),
        ({"basis": "found on the web"}, "basis"),
        ({"name": ""}, "name"),
        ({"document": Path("missing.pdf")}, r"missing\.pdf"),
    ],
)
def test_invalid_records_are_not_written(changes: dict[str, Any], message: str, tmp_path: Path, target: Path) -> None:
    with pytest.raises(ConsentError, match=message):
        make(tmp_path / "x.toml", **{"footage": [target], **changes})
    assert not (tmp_path / "x.toml").exists()


@pytest.mark.parametrize("count", [0, 2])
def test_pictures_are_checked_before_the_record_is_written(count: int, tmp_path: Path, picture: Path) -> None:
    with pytest.raises(ConsentError, match=rf"front\.png: shows {count} faces"):
        make(tmp_path / "x.toml", pictures=[picture], embed=lambda _: [PERSON] * count)
    assert not (tmp_path / "x.toml").exists()


def test_invalid_footage_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(FootageError, match=r"text\.mp4"):
        make(tmp_path / "x.toml", footage=[text])
    assert not (tmp_path / "x.toml").exists()


def test_missing_footage_is_named(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match=r"missing\.mp4"):
        make(tmp_path / "x.toml", footage=[tmp_path / "missing.mp4"])
    assert not (tmp_path / "x.toml").exists()


@pytest.mark.parametrize("given", ["", "shot_%04d.png"])
def test_an_image_sequence_is_hashed_as_in_the_check(given: str, tmp_path: Path, write: Write) -> None:
    """`--footage` with the folder of a sequence once failed with "Is a directory"."""
    plates = tmp_path / "plates"
    pictures = [write(plates / f"shot_{number:04d}.png") for number in (3, 4, 5)]
    pictures[1].write_bytes(pictures[1].read_bytes() + b"\0")
    record = make(tmp_path / "x.toml", footage=[plates / given])
    digest = hashlib.sha256("".join(sha256(file) for file in pictures).encode()).hexdigest()
    assert record.footage_sha256 == (digest,)
    used = {footage_sha256(probe(plates, rate=Fraction(24)))}
    check_person(record, tmp_path, footage_sha256s=used, embedding=None, embed=never)
    pictures[2].write_bytes(pictures[0].read_bytes() + b"\0")
    with pytest.raises(ConsentError, match="1 of 1 footage files"):
        check_person(record, tmp_path, footage_sha256s={footage_sha256(probe(plates))}, embedding=PERSON, embed=never)


def test_an_ambiguous_folder_is_refused(tmp_path: Path, write: Write) -> None:
    for name in ("a_1.png", "a_2.png", "b_1.png", "b_2.png"):
        write(tmp_path / "plates" / name)
    with pytest.raises(FootageError, match="2 image sequences"):
        make(tmp_path / "x.toml", footage=[tmp_path / "plates"])


def test_the_public_function_detects_faces_itself(tmp_path: Path, picture: Path) -> None:
    values = {"name": "x", "adult": True, "basis": "self", "statement": "Yes.", "scope": "tests", "footage": []}
    with pytest.raises(ConsentError, match="shows 0 faces"):  # the picture is smooth colour
        visagist.new_consent(tmp_path / "x.toml", **values, pictures=[picture])


@pytest.mark.parametrize("field", ["version", "id", "name", "adult", "basis", "statement", "date", "scope"])
def test_a_missing_field_is_named(field: str, tmp_path: Path, target: Path) -> None:
    path = tmp_path / "x.toml"
    make(path, footage=[target])
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith(f"{field} =")), encoding="utf-8")
    with pytest.raises(ConsentError, match=rf"x\.toml: {field}: field required.*visagist consent new"):
        load_consent(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("adult = false", "adults only"),
        ("adult = 'yes'", "adult"),
        ("version = 3", "version"),
        ("footage_sha256 = ['abc']", "64 lower-case hex"),
        ("unheard = 1", "unheard"),
        ("[[[", "not a TOML file"),
    ],
)
def test_a_wrong_field_is_named(line: str, message: str, tmp_path: Path, target: Path) -> None:
    path = tmp_path / "x.toml"
    make(path, footage=[target])
    field = line.split(" =")[0]
    lines = [each for each in path.read_text(encoding="utf-8").splitlines() if not each.startswith(f"{field} =")]
    if field == "footage_sha256":
        lines = [each for each in lines if not each.startswith((" ", "]"))]
    path.write_text("\n".join([line, *lines]), encoding="utf-8")
    with pytest.raises(ConsentError, match=message):
        load_consent(path)


@pytest.mark.parametrize("path", ["/etc/face.png", "C:/face.png", "..\\face.png", ""])
def test_picture_paths_are_relative_to_the_record(path: str, tmp_path: Path, picture: Path) -> None:
    record = tmp_path / "x.toml"
    make(record, pictures=[picture])
    text = record.read_text(encoding="utf-8").replace("pictures/front.png", path.replace("\\", "\\\\"))
    record.write_text(text, encoding="utf-8")
    with pytest.raises(ConsentError, match="pictures"):
        load_consent(record)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match=r"none\.toml.*visagist consent new"):
        load_consent(tmp_path / "none.toml")


def test_footage_is_bound_by_its_hash(tmp_path: Path, target: Path) -> None:
    record = make(tmp_path / "x.toml", footage=[target])
    check_person(record, tmp_path, footage_sha256s={sha256(target)}, embedding=None, embed=never)
    with pytest.raises(ConsentError, match="1 of 2 footage files"):
        check_person(record, tmp_path, footage_sha256s={sha256(target), "0" * 64}, embedding=PERSON, embed=never)


def test_no_footage_is_not_bound_footage(tmp_path: Path, target: Path) -> None:
    record = make(tmp_path / "x.toml", footage=[target])
    with pytest.raises(ConsentError, match="no reference pictures"):
        check_person(record, tmp_path, footage_sha256s=set(), embedding=PERSON, embed=never)


@pytest.mark.parametrize(("cosine", "same"), [(0.66, True), (SAME_PERSON + 0.01, True), (0.35, False)])
def test_faces_are_compared_with_the_pictures(cosine: float, same: bool, tmp_path: Path, picture: Path) -> None:
    record = make(tmp_path / "x.toml", pictures=[picture])

    def check(faces: list[np.ndarray]) -> None:
        check_person(record, tmp_path, footage_sha256s={"0" * 64}, embedding=PERSON, embed=lambda _: faces)

    if same:
        check([7 * at_cosine(cosine)])  # any length
    else:
        with pytest.raises(ConsentError, match=r"another person \(similarity 0\.35"):
            check([at_cosine(cosine)])


def test_a_nan_embedding_is_not_a_match(tmp_path: Path, picture: Path) -> None:
    record = make(tmp_path / "x.toml", pictures=[picture])
    with pytest.raises(ConsentError, match="another person"):
        check_person(record, tmp_path, footage_sha256s=set(), embedding=np.full(128, np.nan), embed=lambda _: [PERSON])


@pytest.mark.parametrize("count", [0, 2])
def test_a_reference_picture_shows_one_face(count: int, tmp_path: Path, picture: Path) -> None:
    record = make(tmp_path / "x.toml", pictures=[picture])
    with pytest.raises(ConsentError, match=f"shows {count} faces"):
        check_person(record, tmp_path, footage_sha256s=set(), embedding=PERSON, embed=lambda _: [PERSON] * count)


def test_missing_or_changed_pictures_are_errors_despite_hashes(tmp_path: Path, picture: Path, target: Path) -> None:
    record = make(tmp_path / "x.toml", pictures=[picture], footage=[target])

    def check() -> None:
        check_person(record, tmp_path, footage_sha256s={sha256(target)}, embedding=PERSON, embed=never)

    check()
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(ConsentError, match="was changed"):
        check()
    picture.unlink()
    with pytest.raises(ConsentError, match="missing"):
        check()


def test_the_best_picture_counts() -> None:
    assert same_person(np.stack([at_cosine(0.2), at_cosine(0.8)]), PERSON) == pytest.approx(0.8)


@pytest.mark.parametrize("part", ["source", "target"])
def test_the_demo_records_cover_the_demo_footage_and_claim_no_release(part: str) -> None:
    path = DEMO / "consent" / f"{part}.toml"
    record = load_consent(path)
    footage = {sha256(file) for file in (DEMO / "footage" / part).iterdir()}
    assert set(record.footage_sha256) == footage
    check_person(record, path.parent, footage_sha256s=footage, embedding=None, embed=never)
    assert record.basis == "research-corpus"
    assert "not a release by the speaker" in record.statement
    assert "10.5281/zenodo.3625687" in record.statement
