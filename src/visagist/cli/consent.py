"""`visagist consent`: consent records, and the list of known signers."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import visagist
from visagist.core.text import plural
from visagist.provenance import (
    Basis,
    Signer,
    add_known_signer,
    known_signers,
    read_consent,
    remove_known_signer,
    revoke_consent,
    revoked_consents,
)

app = App(name="consent")


@dataclass(frozen=True)
class NewRecord:
    """A newly written record."""

    record: Path
    id: str
    sha256: str

    def as_text(self) -> str:
        """One line."""
        return f"{self.record}: record {self.id}, SHA-256 {self.sha256}"


@dataclass(frozen=True)
class ShownRecord(NewRecord):
    """The contents of a record."""

    name: str
    basis: Basis
    date: datetime.date
    statement: str
    scope: str
    pictures: int
    footage: int
    expires: datetime.date | None = None
    uses: tuple[str, ...] = ()
    targets: int = 0
    revoked: str | None = None

    def as_text(self) -> str:
        """A few lines of text."""
        pictures, footage = plural(self.pictures, "picture"), plural(self.footage, "footage file")
        return "\n".join(
            [
                super().as_text(),
                f"  {self.name}, basis {self.basis}, {self.date}",
                f"  {self.statement}",
                f"  scope: {self.scope}",
                *([f"  expires: {self.expires}"] if self.expires else []),
                *([f"  uses: {', '.join(self.uses)}"] if self.uses else []),
                *([f"  for {plural(self.targets, 'target')} only"] if self.targets else []),
                *([f"  REVOKED: {self.revoked}"] if self.revoked else []),
                f"  bound to the person by {pictures} and {footage}",
            ]
        )


@dataclass(frozen=True)
class ListedSigner:
    """A signer added to or removed from the list."""

    fingerprint: str
    known: bool
    note: str | None

    def as_text(self) -> str:
        """One line."""
        return f"{self.fingerprint}: {self.note if self.known else 'no longer on your list'}"


@dataclass(frozen=True)
class Signers:
    """The user's own fingerprint, and notes on known signers by fingerprint."""

    own: str
    known: dict[str, str]

    def as_text(self) -> str:
        """One line per signer."""
        return "\n".join(f"{print_}: {note}" for print_, note in {**self.known, self.own: "your own"}.items())


@app.command
def new(
    record: Path,
    *,
    name: str,
    adult: Annotated[bool, Parameter(negative=(), help="Confirm that the person is an adult.")],
    basis: Basis,
    statement: str,
    scope: str,
    date: datetime.date | None = None,
    expires: datetime.date | None = None,
    use: Annotated[list[str] | None, Parameter(negative=())] = None,
    target: Annotated[list[Path] | None, Parameter(negative=())] = None,
    picture: Annotated[list[Path] | None, Parameter(negative=())] = None,
    footage: Annotated[list[Path] | None, Parameter(negative=())] = None,
    document: Path | None = None,
) -> NewRecord:
    """Write a consent record for one person, as a commented TOML file.

    It needs something that identifies the person: reference pictures, or the footage that it covers.

    ```
    visagist consent new anna.toml --name "Anna A." --adult --basis signed-release \\
        --statement "Anna agrees to the use of her face in the film." --scope "the film, worldwide" \\
        --picture anna-front.jpg --picture anna-left.jpg
    ```

    Parameters
    ----------
    record:
        The file to write.
    name:
        Name or pseudonym. It stays in the record and does not enter any render.
    basis:
        Legal basis of the consent.
    statement:
        What was agreed, in plain words.
    scope:
        What the face may be used for.
    date:
        Day of the agreement, YYYY-MM-DD; by default today.
    expires:
        Last day on which renders may be made, YYYY-MM-DD; without it, the consent does not expire.
    use:
        A use that is allowed, such as film or dubbing; repeatable. Renders must then state one with `--use`.
    target:
        Footage that may be changed under this record; repeatable. Without it, any.
    picture:
        A picture of this person alone; repeatable.
    footage:
        A video, or the folder or pattern of an image sequence, that shows this person alone (checked when it is used);
        repeatable.
    document:
        The signed document; only its hash is stored.
    """
    made = visagist.new_consent(
        record,
        name=name,
        adult=adult,
        basis=basis,
        statement=statement,
        scope=scope,
        date=date,
        expires=expires,
        uses=use or (),
        targets=target or (),
        pictures=picture or (),
        footage=footage or (),
        document=document,
    )
    return NewRecord(record, made.id, read_consent(record)[1])


@app.command
def show(record: Path) -> ShownRecord:
    """Check a consent record and print it.

    ```
    visagist consent show anna.toml
    ```

    Parameters
    ----------
    record:
        The record, a TOML file.
    """
    found, digest = read_consent(record)
    return ShownRecord(
        record,
        found.id,
        digest,
        name=found.name,
        basis=found.basis,
        date=found.date,
        statement=found.statement,
        scope=found.scope,
        pictures=len(found.pictures),
        footage=len(found.footage_sha256),
        expires=found.expires,
        uses=found.uses,
        targets=len(found.targets_sha256),
        revoked=revoked_consents().get(found.id),
    )


@dataclass(frozen=True)
class RevokedRecord:
    """A revoked record."""

    id: str

    def as_text(self) -> str:
        """One line."""
        return f"{self.id}: revoked; nothing is rendered under this record on this machine any more"


@app.command
def revoke(record: str, *, reason: str = "") -> RevokedRecord:
    """Revoke a consent record: merging refuses it from now on, edited copies included.

    Renders made before keep their signatures. The list of revoked records, `revoked.toml` in the configuration folder,
    can be copied to other machines.

    ```
    visagist consent revoke anna.toml --reason "Anna withdrew on 3 May"
    ```

    Parameters
    ----------
    record:
        The record, or its id of 32 hexadecimal digits.
    reason:
        A note for the list.
    """
    return RevokedRecord(revoke_consent(record, reason))


@app.command
def trust(fingerprint: str, *, note: str) -> ListedSigner:
    """Add a signer to your list, so that `visagist verify` reports that signer as known.

    ```
    visagist consent trust FINGERPRINT --note "Studio B, grading"
    ```

    Parameters
    ----------
    fingerprint:
        The signer's 64 hexadecimal digits, as `visagist verify` prints them; confirm them with the signer through
        another channel.
    note:
        Who the signer is.
    """
    add_known_signer(fingerprint, note)
    return ListedSigner(fingerprint, known=True, note=note)


@app.command
def signers() -> Signers:
    """Print your own fingerprint and the signers on your list. Creates your key if there is none yet.

    ```
    visagist consent signers
    ```
    """
    own = Signer.default().fingerprint
    return Signers(own, {fingerprint: note for fingerprint, note in known_signers().items() if fingerprint != own})


@app.command
def untrust(fingerprint: str) -> ListedSigner:
    """Remove a signer from your list.

    ```
    visagist consent untrust FINGERPRINT
    ```

    Parameters
    ----------
    fingerprint:
        The signer's 64 hexadecimal digits, as `visagist consent signers` prints them.
    """
    remove_known_signer(fingerprint)
    return ListedSigner(fingerprint, known=False, note=None)
