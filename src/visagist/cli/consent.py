"""`visagist consent`: records of who agreed to what, and the signers that one knows."""

import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import visagist
from visagist.provenance import (
    Basis,
    Signer,
    add_known_signer,
    known_signers,
    load_consent,
    record_sha256,
    remove_known_signer,
)

app = App(name="consent", help="Consent records: make one, check one; and the signers that you know.")


@app.command
def new(
    record: Path,
    /,
    *,
    name: str,
    adult: bool = False,
    basis: Basis,
    statement: str,
    scope: str,
    date: datetime.date | None = None,
    picture: Annotated[list[Path] | None, Parameter(negative=())] = None,
    footage: Annotated[list[Path] | None, Parameter(negative=())] = None,
    document: Path | None = None,
) -> None:
    """Write a consent record for one person, as a commented TOML file.

    Something must bind it to the person: reference pictures, or the footage that it covers.

    Parameters
    ----------
    record:
        The new file.
    name:
        Name or pseudonym. It stays in the record and goes into no render.
    adult:
        The person is an adult. Without this no record is made.
    basis:
        Ground of the consent.
    statement:
        What was agreed, in plain words.
    scope:
        What the face may be used for.
    date:
        Day of the agreement, YYYY-MM-DD; today by default.
    picture:
        A picture that shows this person and nobody else; may be given several times.
    footage:
        A footage file that shows this person and nobody else; may be given several times.
    document:
        The signed document; only its hash is kept.
    """
    made = visagist.new_consent(
        record,
        name=name,
        adult=adult,
        basis=basis,
        statement=statement,
        scope=scope,
        date=date or datetime.date.today(),
        pictures=picture or [],
        footage=footage or [],
        document=document,
    )
    print(f"{record}: record {made.id}, SHA-256 {record_sha256(record)}")


@app.command
def show(record: Path, /) -> None:
    """Check a consent record and print what it says."""
    found = load_consent(record)
    print(f"{record}: record {found.id}, SHA-256 {record_sha256(record)}")
    print(f"  {found.name}, basis {found.basis}, {found.date}")
    print(f"  {found.statement}")
    print(f"  scope: {found.scope}")
    print(f"  bound by {len(found.pictures)} pictures and {len(found.footage_sha256)} footage files")


@app.command
def trust(fingerprint: str, /, *, note: str) -> None:
    """Put a signer on your own list, so that `verify` calls that signer known.

    Parameters
    ----------
    fingerprint:
        The signer's 64 hexadecimal digits, which `verify` prints; ask the signer for them by another way.
    note:
        Who that is.
    """
    add_known_signer(fingerprint, note)
    print(f"{fingerprint}: {note}")


@app.command
def signers() -> None:
    """Print your own fingerprint, made with its key if need be, and the signers on your list."""
    own = Signer.default().fingerprint
    for fingerprint, note in {**known_signers(), own: "your own"}.items():
        print(f"{fingerprint}: {note}")


@app.command
def untrust(fingerprint: str, /) -> None:
    """Take a signer off your list."""
    remove_known_signer(fingerprint)
    print(f"{fingerprint}: no longer on your list")
