"""Consent records: who agreed to what, on which legal basis, until when, and what binds the record to the person.

A record states an agreement but cannot prove it. visagist checks that the record is complete and still valid, that the
person is an adult, and that the footage shows the person it is bound to, by hashes of footage or by reference pictures.
"""

import datetime
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import tomli_w
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from visagist.core.errors import ConfigError, ConsentError, ReadError
from visagist.core.files import config_dir, sha256, write_atomic
from visagist.core.read import parse_toml, read_bytes
from visagist.core.settings import Settings, read_toml
from visagist.core.types import StrPath, Use
from visagist.media import footage_sha256, photo_hashes, probe

Basis = Literal["self", "signed-release", "licensed-performer", "estate", "research-corpus", "synthetic"]
SHA256 = r"^[0-9a-f]{64}$"
RECORD_ID = r"^[0-9a-f]{32}$"
VERSION = 2  # version 1 lacks expires, uses and targets_sha256, and is still read
MAX_RECORD = 1 << 20  # bytes

SAME_PERSON = 0.5
"""Minimum SFace cosine of two faces of the same person. Over 47 real faces, the minimum for the same person was 0.66
and the maximum for different people 0.35. Very small, blurred or profile faces can fall below it; give another
reference picture then. Twins cannot be distinguished."""

_FIELDS: dict[str, str] = {
    "version": "Version of this format.",
    "id": "Random; identifies the person where the name should not be used.",
    "name": "Name or pseudonym. It stays in this file and does not enter any render.",
    "adult": "The person is an adult. Records without this are refused.",
    "basis": "Legal basis: self, signed-release, licensed-performer, estate, research-corpus or synthetic.",
    "statement": "What was agreed or licensed, in plain words.",
    "date": "Day of the agreement; for a corpus, of its publication.",
    "scope": "What the face may be used for, in plain words.",
    "expires": "Last day on which renders may be made. Without it, the consent does not expire.",
    "uses": "The only uses allowed, such as film or dubbing; each render must then state one of them with --use.",
    "targets_sha256": "SHA-256 of the only footage that may be changed under this record.",
    "document_sha256": "SHA-256 of the signed document, which is kept elsewhere.",
    "footage_sha256": (
        "SHA-256 of each footage file or photo that shows this person alone; for an image sequence, of its pictures' "
        "SHA-256 in order."
    ),
    "pictures": "Pictures that show this person alone; paths are relative to this file.",
}


class Picture(Settings):
    """A reference picture: path relative to the record, and hash of its bytes."""

    path: str = Field(min_length=1)
    sha256: str = Field(pattern=SHA256)

    @field_validator("path")
    @classmethod
    def _check(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or "\\" in path or ":" in path:
            raise PydanticCustomError("path", "must be relative to the record and use /")
        return path


class Consent(Settings):
    """A consent record, bound to the person by `pictures`, `footage_sha256`, or both."""

    version: Literal[1, 2] = Field(description=_FIELDS["version"])
    id: str = Field(pattern=RECORD_ID, description=_FIELDS["id"])
    name: str = Field(min_length=1, description=_FIELDS["name"])
    adult: bool = Field(strict=True, description=_FIELDS["adult"])
    basis: Basis = Field(description=_FIELDS["basis"])
    statement: str = Field(min_length=1, description=_FIELDS["statement"])
    date: datetime.date = Field(description=_FIELDS["date"])
    scope: str = Field(min_length=1, description=_FIELDS["scope"])
    expires: datetime.date | None = Field(default=None, description=_FIELDS["expires"])
    uses: tuple[Use, ...] = Field(default=(), max_length=32, description=_FIELDS["uses"])
    targets_sha256: tuple[str, ...] = Field(default=(), max_length=1000, description=_FIELDS["targets_sha256"])
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
        if date > datetime.date.today() + datetime.timedelta(days=1):  # one day of tolerance for time zones
            raise PydanticCustomError("date", "{date} lies in the future", {"date": date.isoformat()})
        return date

    @field_validator("footage_sha256", "targets_sha256")
    @classmethod
    def _are_hashes(cls, hashes: tuple[str, ...]) -> tuple[str, ...]:
        for each in hashes:
            if len(each) != 64 or set(each) - set("0123456789abcdef"):
                raise PydanticCustomError("sha256", "'{each}' is not 64 lower-case hex digits", {"each": each})
        return hashes

    @model_validator(mode="after")
    def _binds(self) -> "Consent":
        if self.expires is not None and self.expires < self.date:
            raise PydanticCustomError("expires", "expires: lies before the day of the agreement")
        if not self.footage_sha256 and not self.pictures:
            raise PydanticCustomError("binding", "is not bound to a person: footage_sha256 or pictures must be given")
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
    expires: datetime.date | None = None,
    uses: Sequence[str] = (),
    targets: Sequence[StrPath] = (),
    pictures: Sequence[StrPath] = (),
    footage: Sequence[StrPath] = (),
    document: StrPath | None = None,
    embed: Callable[[Path], Sequence[NDArray[np.floating]]],
) -> Consent:
    """Write a consent record for one person. Each reference picture must show exactly one face.

    Args:
        path: the record, a new `.toml` file.
        name: name or pseudonym.
        adult: whether the person is an adult; must be True.
        basis: legal basis of the consent.
        statement: what was agreed.
        scope: what the face may be used for.
        date: day of the agreement; default today.
        expires: last day on which renders may be made; default no end.
        uses: the only uses allowed, such as `film`; a render must then state one of them.
        targets: the only footage that may be changed under this record; default any.
        pictures: pictures that show this person alone; the record refers to them where they are.
        footage: footage files, or image sequences as folders or patterns, that show this person alone; this is checked
            when the record is used.
        document: the signed document, of which only the hash is stored.
        embed: from a picture file to the embeddings of all faces in it; already bound in `visagist.new_consent`.

    Raises:
        ConsentError: the file exists, a picture does not show exactly one face, a file cannot be read, or a field is
            invalid.
        FootageError: a picture or footage is missing or not readable as such.
        OutputError: the record cannot be written.
    """
    path, pictures = Path(path), [Path(picture) for picture in pictures]
    if path.exists():
        raise ConsentError(f"{path}: exists already; a record is never overwritten, choose another name")
    values: dict[str, Any] = {
        "version": VERSION,
        "id": secrets.token_hex(16),
        "name": name,
        "adult": adult,
        "basis": basis,
        "statement": statement,
        "date": date or datetime.date.today(),
        "scope": scope,
        "uses": list(uses),
        "targets_sha256": [digest for file in targets for digest in _footage_hashes(Path(file))],
        "footage_sha256": [digest for file in footage for digest in _footage_hashes(Path(file))],
        "pictures": [{"path": _relative(file, path.parent), "sha256": _hash(file)} for file in pictures],
    }
    if expires is not None:
        values["expires"] = expires
    if document is not None:
        values["document_sha256"] = _hash(Path(document))
    record = _parse(values, path)
    for picture in pictures:
        _only_face(picture, embed)
    write_atomic(path, commented(record))
    return record


def load_consent(path: StrPath) -> Consent:
    """Read a consent record; `check_person` checks its pictures.

    Args:
        path: the record, a TOML file.

    Raises:
        ConsentError: the file is missing or not TOML, a field is missing or invalid, the person is not an adult, or
            the record is not bound to a person.
    """
    return read_consent(path)[0]


def read_consent(path: StrPath) -> tuple[Consent, str]:
    """A consent record and the SHA-256 of the bytes it was parsed from.

    Raises:
        ConsentError: as `load_consent`.
    """
    path = Path(path)
    try:
        data = read_bytes(path, MAX_RECORD)
        return Consent.parse(parse_toml(data, path), path), hashlib.sha256(data).hexdigest()
    except (ConfigError, ReadError) as error:
        raise ConsentError(f"{error}; correct it, or write one with `visagist consent new`") from error


def revoke_consent(record: StrPath, reason: str = "") -> str:
    """Revoke a consent record on this machine: no render is made under it from now on, nor under edited copies of it.

    Renders made before remain signed. The list is `revoked.toml` in the user's configuration folder, which can be
    copied to other machines.

    Args:
        record: the record, or its id of 32 hexadecimal digits.
        reason: a note for the list.

    Returns:
        The id of the record.

    Raises:
        ConsentError: not a record, or not an id.
        OutputError: the list cannot be written.
        ConfigError: the list cannot be read.
    """
    number = str(record) if re.fullmatch(RECORD_ID, str(record)) else load_consent(record).id
    note = datetime.date.today().isoformat() + (f" ({reason})" if reason else "")
    write_atomic(_revocations(), tomli_w.dumps({**revoked_consents(), number: note}))
    return number


def revoked_consents() -> dict[str, str]:
    """Day and reason of revocation by record id, from the user's list.

    Raises:
        ConfigError: the list is damaged.
    """
    path = _revocations()
    if not path.exists():
        return {}
    found = read_toml(path)
    for number, note in found.items():
        if not re.fullmatch(RECORD_ID, number) or not isinstance(note, str):
            raise ConfigError(f"{path}: '{number}' is not the id of a record with a note; correct the line")
    return found


def _revocations() -> Path:
    return config_dir() / "revoked.toml"


def check_valid(record: Consent, *, use: str | None, target_sha256: str | None, today: datetime.date) -> None:
    """Check that a record allows a render: not revoked, not expired, and the use and the target are in its scope.

    Args:
        record: the record.
        use: the stated use of the render, if any.
        target_sha256: hash of the footage to be changed; None if not known yet.
        today: day of the render.

    Raises:
        ConsentError: it does not allow it.
        ConfigError: the list of revoked records is damaged.
    """
    name = f"consent record of '{record.name}'"
    if record.id in (revoked := revoked_consents()):
        raise ConsentError(f"{name}: revoked on {revoked[record.id]}; nothing may be rendered under it any more")
    if record.expires is not None and today > record.expires:
        raise ConsentError(f"{name}: expired on {record.expires}; agree on a new one and record it")
    if record.uses and use not in record.uses:
        stated = "states none" if use is None else f"states '{use}'"
        raise ConsentError(
            f"{name}: allows the uses {', '.join(record.uses)} only, but this render {stated}; pass one of them with "
            "--use"
        )
    if record.targets_sha256 and target_sha256 is not None and target_sha256 not in record.targets_sha256:
        raise ConsentError(f"{name}: covers other footage only; this target is not in its targets_sha256")


def commented(record: Consent) -> str:
    """A record as TOML, with a comment above each field."""
    values = record.model_dump(exclude_none=True)
    lines = ["# Consent record for visagist. Any change to this file changes its hash, which renders state."]
    for field, meaning in _FIELDS.items():  # tables come last in TOML, and `pictures` is one
        if values.get(field) in (None, ()):
            lines += ["", f"# {meaning}", f"# {field} = not given"]
        else:
            value = list(values[field]) if isinstance(values[field], tuple) else values[field]
            lines += ["", f"# {meaning}", tomli_w.dumps({field: value}).strip()]
    return "\n".join(lines) + "\n"


def same_person(embeddings: NDArray[np.floating], embedding: NDArray[np.floating]) -> float:
    """Maximum cosine of `embedding` with any of `embeddings`; at least `SAME_PERSON` for the same person.

    Args:
        embeddings: `(N, D)`, N >= 1, of non-zero length.
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
    """Check that footage shows the person of a record, by its hash or by comparison with the reference pictures.

    Args:
        record: the record.
        folder: folder of the record, to which the paths of pictures are relative.
        footage_sha256s: hashes of all footage files; empty if hashes cannot identify the person.
        embedding: `(128,)` SFace embedding of the person in the footage; None if there is none.
        embed: from a picture to the SFace embeddings of all faces in it; called only if hashes are not sufficient.

    Raises:
        ConsentError: a picture is missing, was changed, or does not show exactly one face; or the footage shows another
            person.
    """
    for picture in record.pictures:
        file = folder / picture.path
        if not file.is_file():
            raise ConsentError(f"{file}: the reference picture of the consent record is missing; put it back")
        if _hash(file) != picture.sha256:
            raise ConsentError(f"{file}: the reference picture was changed; restore the one of the consent record")
    uncovered = footage_sha256s - set(record.footage_sha256)
    if footage_sha256s and not uncovered:
        return
    count = f"{len(uncovered)} of {len(footage_sha256s)} footage files not covered by hash"
    if not footage_sha256s:
        count = "the footage shows several people, so its hash does not say who agreed"
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
            f"reference pictures, at least {SAME_PERSON} required); {remedy}"
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
