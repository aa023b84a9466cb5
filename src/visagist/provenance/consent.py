"""Consent records: who agreed to what, on which ground, and what ties the record to the person.

- `new_consent`: write a record, a commented TOML file, with a random id
- `load_consent`: read one; `record_sha256`: the hash of its bytes, which the credentials of a render state
- `check_person`: whether footage shows the person of the record

A record states a person's agreement; it cannot prove it. What is checked is that it is complete, that it speaks of an
adult, and that the faces at hand are the ones that it is bound to: by hashes of footage, or by reference pictures.
"""

import datetime
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import tomli_w
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from visagist.core.errors import ConfigError, ConsentError
from visagist.core.files import sha256, write_atomic
from visagist.core.settings import Settings
from visagist.core.types import StrPath
from visagist.media import footage_sha256, photo_hashes, probe

Basis = Literal["self", "signed-release", "licensed-performer", "estate", "research-corpus", "synthetic"]
SHA256 = r"^[0-9a-f]{64}$"

SAME_PERSON = 0.5
"""SFace cosine from which on two faces count as one person. On 47 real faces the least of the same person was 0.66
and the highest of two persons 0.35; this is the middle. A very small, blurred or profile face can fall below it; give
another reference picture then. It does not tell twins apart."""

_FIELDS: dict[str, str] = {
    "version": "Version of this format.",
    "id": "Random; stands for the person where the name should not.",
    "name": "Name or pseudonym. It stays in this file and goes into no render.",
    "adult": "The person is of age. Records that do not say so are refused.",
    "basis": "Ground of the consent: self, signed-release, licensed-performer, estate, research-corpus or synthetic.",
    "statement": "What was agreed or licensed, in plain words.",
    "date": "Day of the agreement; for a corpus, of its publication.",
    "scope": "What the face may be used for.",
    "document_sha256": "SHA-256 of the signed document, which is kept elsewhere.",
    "footage_sha256": (
        "SHA-256 of each footage file or photo that shows this person and nobody else; of an image sequence, of its "
        "pictures' SHA-256 in order."
    ),
    "pictures": "Pictures that show this person and nobody else; paths are relative to this file.",
}


class Picture(Settings):
    """A reference picture: its path relative to the record, and the hash of its bytes."""

    path: str = Field(min_length=1)
    sha256: str = Field(pattern=SHA256)

    @field_validator("path")
    @classmethod
    def _check(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or "\\" in path or ":" in path:
            raise PydanticCustomError("path", "must be relative to the record and use /")
        return path


class Consent(Settings):
    """A consent record. What binds it to the person is `pictures`, `footage_sha256`, or both."""

    version: Literal[1] = Field(description=_FIELDS["version"])
    id: str = Field(pattern=r"^[0-9a-f]{32}$", description=_FIELDS["id"])
    name: str = Field(min_length=1, description=_FIELDS["name"])
    adult: bool = Field(strict=True, description=_FIELDS["adult"])
    basis: Basis = Field(description=_FIELDS["basis"])
    statement: str = Field(min_length=1, description=_FIELDS["statement"])
    date: datetime.date = Field(description=_FIELDS["date"])
    scope: str = Field(min_length=1, description=_FIELDS["scope"])
    document_sha256: str | None = Field(default=None, pattern=SHA256, description=_FIELDS["document_sha256"])
    footage_sha256: tuple[str, ...] = Field(default=(), description=_FIELDS["footage_sha256"])
    pictures: tuple[Picture, ...] = Field(default=(), description=_FIELDS["pictures"])

    @field_validator("adult")
    @classmethod
    def _is_adult(cls, adult: bool) -> bool:
        if adult is not True:
            raise PydanticCustomError("adult", "must be true: visagist works with the faces of adults only")
        return adult

    @field_validator("date")
    @classmethod
    def _is_past(cls, date: datetime.date) -> datetime.date:
        if date > datetime.date.today() + datetime.timedelta(days=1):  # a day for time zones
            raise PydanticCustomError("date", "{date} lies in the future", {"date": date.isoformat()})
        return date

    @field_validator("footage_sha256")
    @classmethod
    def _are_hashes(cls, hashes: tuple[str, ...]) -> tuple[str, ...]:
        for each in hashes:
            if len(each) != 64 or set(each) - set("0123456789abcdef"):
                raise PydanticCustomError("sha256", "'{each}' is not 64 lower-case hex digits", {"each": each})
        return hashes

    @model_validator(mode="after")
    def _binds(self) -> "Consent":
        if not self.footage_sha256 and not self.pictures:
            raise PydanticCustomError(
                "binding", "binds to nobody: footage_sha256 or pictures must tie the record to the person"
            )
        return self


def new_consent(
    path: StrPath,
    *,
    name: str,
    adult: bool,
    basis: Basis,
    statement: str,
    scope: str,
    date: datetime.date | None = None,
    pictures: Sequence[StrPath] = (),
    footage: Sequence[StrPath] = (),
    document: StrPath | None = None,
    embed: Callable[[Path], Sequence[NDArray[np.floating]]],
) -> Consent:
    """Write a new record for a person, after a look at its pictures: each must show exactly one face.

    Args:
        path: the record, a new `.toml` file.
        name: name or pseudonym.
        adult: whether the person is of age; a record needs `True`.
        basis: ground of the consent.
        statement: what was agreed.
        scope: what the face may be used for.
        date: day of the agreement; default today.
        pictures: pictures that show this person alone; they stay where they are.
        footage: footage files, or image sequences as folders or patterns, that show this person alone; whether they do
            is found when the record is used.
        document: the signed document, of which only the hash is kept.
        embed: a function from a picture file to the embeddings of all faces in it; `visagist.new_consent` has it.

    Raises:
        ConsentError: the file exists, a picture does not show one face, a file cannot be read, or a field is refused.
        FootageError: a picture is none, or footage is missing or none.
        OutputError: the record cannot be written.
    """
    path, pictures = Path(path), [Path(picture) for picture in pictures]
    if path.exists():
        raise ConsentError(f"{path}: exists already; a record is never overwritten, choose another name")
    values: dict[str, Any] = {
        "version": 1,
        "id": secrets.token_hex(16),
        "name": name,
        "adult": adult,
        "basis": basis,
        "statement": statement,
        "date": date or datetime.date.today(),
        "scope": scope,
        "footage_sha256": [digest for file in footage for digest in _footage_hashes(Path(file))],
        "pictures": [{"path": _relative(file, path.parent), "sha256": _hash(file)} for file in pictures],
    }
    if document is not None:
        values["document_sha256"] = _hash(Path(document))
    record = _parse(values, path)
    for picture in pictures:
        _only_face(picture, embed)
    write_atomic(path, commented(record))
    return record


def load_consent(path: StrPath) -> Consent:
    """Read a record. Its pictures are looked at by `check_person`.

    Args:
        path: the record, a TOML file.

    Raises:
        ConsentError: it is missing, is no TOML, lacks a field, has a wrong one, is not of an adult, or binds to
            nobody.
    """
    try:
        return Consent.load(Path(path))
    except ConfigError as error:
        raise ConsentError(f"{error}; correct it, or write one with `visagist consent new`") from error


def record_sha256(path: StrPath) -> str:
    """Hexadecimal SHA-256 of a record's bytes.

    Raises:
        ConsentError: it cannot be read.
    """
    return _hash(Path(path))


def commented(record: Consent) -> str:
    """A record as TOML, each field below what it means."""
    values = record.model_dump(exclude_none=True)
    lines = ["# Consent record for visagist. Any change of this file changes its hash, which renders state."]
    for field, meaning in _FIELDS.items():  # tables come last in TOML, and `pictures` is one
        if values.get(field) in (None, ()):
            lines += ["", f"# {meaning}", f"# {field} = not given"]
        else:
            value = list(values[field]) if isinstance(values[field], tuple) else values[field]
            lines += ["", f"# {meaning}", tomli_w.dumps({field: value}).strip()]
    return "\n".join(lines) + "\n"


def same_person(embeddings: NDArray[np.floating], embedding: NDArray[np.floating]) -> float:
    """The best cosine of `embedding` with any of `embeddings`; from `SAME_PERSON` on it is the same person.

    Args:
        embeddings: `(N, D)`, N >= 1, any length but zero.
        embedding: `(D,)`.

    >>> same_person(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0.6, 0.8]))
    0.8
    """
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(embedding)
    return float(np.max(embeddings @ embedding / lengths))


def check_person(
    record: Consent,
    folder: Path,
    *,
    footage_sha256s: set[str],
    embedding: NDArray[np.floating] | None,
    embed: Callable[[Path], Sequence[NDArray[np.floating]]],
) -> None:
    """Check that footage shows the person of a record: all of it is covered by hash, or its face is that of a picture.

    Args:
        record: the record.
        folder: the record's folder, which the paths of its pictures start from.
        footage_sha256s: hashes of all footage files in question; may be empty where only faces are at hand.
        embedding: `(128,)` SFace embedding of the person in the footage, such as the mean over its tracks; None if
            there is none.
        embed: from a picture to the SFace embeddings of all faces in it; called only where hashes do not settle it.

    Raises:
        ConsentError: a picture is missing, altered, or does not show exactly one face; or the person is another one.
    """
    for picture in record.pictures:
        file = folder / picture.path
        if not file.is_file():
            raise ConsentError(f"{file}: the reference picture of the consent record is missing; put it back")
        if _hash(file) != picture.sha256:
            raise ConsentError(f"{file}: the reference picture is not the one of the consent record; put that one back")
    uncovered = footage_sha256s - set(record.footage_sha256)
    if footage_sha256s and not uncovered:
        return
    count = f"{len(uncovered)} of {len(footage_sha256s)} footage files not covered by hash"
    if not footage_sha256s:
        count = "the footage shows several people, so that its hash does not tell who agreed"
    count = f"consent record of '{record.name}': {count}"
    remedy = "give the record of the person shown, or make one with `visagist consent new`"
    if not record.pictures:
        raise ConsentError(f"{count}, and it has no reference pictures; {remedy}")
    if embedding is None:
        raise ConsentError(f"{count}, and no face to compare with its pictures; {remedy}")
    references = [_only_face(folder / picture.path, embed) for picture in record.pictures]
    best = same_person(np.stack(references), embedding)
    if not best >= SAME_PERSON:  # NaN is no match
        raise ConsentError(
            f"consent record of '{record.name}': the footage shows another person (similarity {best:.2f} to the "
            f"reference pictures, at least {SAME_PERSON} is asked); {remedy}"
        )


def _only_face(picture: Path, embed: Callable[[Path], Sequence[NDArray[np.floating]]]) -> NDArray[np.floating]:
    """The embedding of the one face in a reference picture."""
    faces = embed(picture)
    if len(faces) != 1:
        raise ConsentError(f"{picture}: shows {len(faces)} faces; a reference picture must show this person alone")
    return faces[0]


def _parse(values: dict[str, Any], path: Path) -> Consent:
    try:
        return Consent.parse(values, path)
    except ConfigError as error:
        raise ConsentError(f"{error}; nothing was written") from error


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise ConsentError(f"{path}: cannot be read ({error.strerror})") from error


def _footage_hashes(path: Path) -> tuple[str, ...]:
    try:
        found = probe(path)
        return photo_hashes(found) or (footage_sha256(found),)
    except OSError as error:
        raise ConsentError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError as error:  # Windows: another drive
        raise ConsentError(f"{file}: must be on the same drive as the record; copy it there") from error
