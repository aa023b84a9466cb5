"""Consent and safeguard checks for every render and preview."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConsentError
from visagist.core.files import write_atomic
from visagist.core.types import StrPath
from visagist.faces import FaceTable, picture_embeddings
from visagist.media import Footage, Reader
from visagist.models.bundle import RETRAINED, TrainedNetwork
from visagist.provenance import (
    Consent,
    ConsentTerms,
    check_person,
    check_valid,
    inspect_footage,
    read_consent,
    safeguard_version,
)

STEP = "consent"


@dataclass(frozen=True)
class Records:
    """The consent records of a render, read before any work is done."""

    source: Consent
    target: Consent
    source_path: Path
    target_path: Path
    hashes: tuple[str, str]  # SHA-256 of the records' bytes at that time, source first

    @classmethod
    def load(cls, source: StrPath | None, target: StrPath | None, use: str | None = None) -> "Records":
        """Read both records, and check that they are valid today, for the stated use of the render.

        Raises:
            ConsentError: a record is missing or invalid, expired or revoked, or does not allow that use.
        """
        source, target = _both_given(source, target)
        (source_record, one), (target_record, other) = read_consent(source), read_consent(target)
        records = cls(source_record, target_record, source, target, (one, other))
        records.check_valid(use, None)
        return records

    def check_valid(self, use: str | None, target_sha256: str | None) -> None:
        """Check the terms of both records for a render made today; arguments as in `provenance.check_valid`.

        Raises:
            ConsentError: a record does not allow it.
        """
        sides = (("source", self.source, self.source_path), ("target", self.target, self.target_path))
        for side, record, path in sides:
            try:
                check_valid(record, use=use, target_sha256=target_sha256, today=datetime.date.today())
            except ConsentError as error:
                raise ConsentError(f"{path} (--{side}-consent): {error}") from error

    @property
    def terms(self) -> tuple[ConsentTerms, ...]:
        """What credentials state about the records, source first."""
        both = zip((self.source, self.target), self.hashes, strict=True)
        return tuple(
            ConsentTerms(sha256, record.expires, record.uses, record.targets_sha256) for record, sha256 in both
        )

    def check_trained(self, run: TrainedNetwork, person: str) -> None:
        """Check that the faces that a run was trained on are those of the source's record.

        Args:
            run: the trained network.
            person: name of the identity in the run.

        Raises:
            ConsentError: they are not, or this cannot be determined.
            RunError: the run has no such identity.
        """
        origin = run.origin(person)
        if origin.is_alone is None and not self.source.pictures:
            raise ConsentError(
                f"{self.source_path} (--source-consent): has no reference pictures, and {run.path} does not say "
                "whether the footage of its source shows one person alone, so a hash does not identify the person; use "
                "a record with pictures (`visagist consent new --picture`), or extract the source again and run "
                "`train` with it, which only adds what is missing"
            )
        # The hash of footage that shows several people does not say who of them agreed.
        self.check_source(set(origin.footage) if origin.is_alone else set(), origin.centroid)
        for earlier in run.record.shown(person)[1:]:
            try:
                self.check_source(set(earlier.footage) if earlier.is_alone else set(), earlier.centroid)
            except ConsentError as error:
                raise ConsentError(
                    f"{run.path}: its '{person}' started from weights that show someone else, and they were not "
                    f"retrained since ({run.record.iteration} iterations, of which {RETRAINED} are needed without "
                    f"--freeze); {error}"
                ) from error

    def check_source(self, footage_sha256s: set[str], centroid: Sequence[float] | NDArray[np.floating]) -> None:
        """Check that the source's faces are those of its record.

        Args:
            footage_sha256s: hashes of all footage files of the source's faceset.
            centroid: `(128,)` mean embedding of the faceset; may be empty.

        Raises:
            ConsentError: they are not, or this cannot be determined.
        """
        _check(self.source, self.source_path, "source", footage_sha256s, np.asarray(centroid, np.float32))

    def check_target(self, footage_sha256s: set[str], embedding: NDArray[np.floating]) -> None:
        """Check that the performer in the target is the person of the record; arguments as in `check_source`.

        Raises:
            ConsentError: it is another person, or this cannot be determined.
        """
        _check(self.target, self.target_path, "target", footage_sha256s, np.asarray(embedding, np.float32))


def _both_given(source: StrPath | None, target: StrPath | None) -> tuple[Path, Path]:

    if source is None or target is None:
        missing = [f"--{name}-consent" for name, path in (("source", source), ("target", target)) if path is None]
        raise ConsentError(
            f"{' and '.join(missing)} missing: a render needs the consent records of both people; "
            "`visagist consent new RECORD.toml` writes one"
        )
    return Path(source), Path(target)


def _check(record: Consent, path: Path, side: str, footage_sha256s: set[str], embedding: NDArray[np.float32]) -> None:
    try:
        check_person(
            record,
            path.parent,
            footage_sha256s=footage_sha256s,
            embedding=embedding if embedding.size else None,
            embed=partial(picture_embeddings, packaged=True),
        )
    except ConsentError as error:
        raise ConsentError(f"{path} (--{side}-consent): {error}") from error


def covered_by_hash(table: FaceTable, performer: int) -> set[str]:
    """The hash of footage that shows the performer alone; empty otherwise, because it does not say who agreed."""
    return {table.footage_sha256} if all(face.identity == performer for face in table) else set()


def check_footage(footage: Footage, footage_sha256: str, folder: Path) -> None:
    """Run the safeguard over the target, unless this version of target and classifier has already passed.

    Args:
        footage: the target.
        footage_sha256: its hash.
        folder: folder of the files that mark passed targets.

    Raises:
        SafeguardError: the target seems to show intimate imagery.
    """
    note = folder / f"passed-{footage_sha256}-{safeguard_version()}"
    if footage.kind == "sequence" and footage.rate:  # the rate determines which frames are sampled
        note = note.with_name(f"{note.name}-{float(footage.rate):.3f}")
    if note.exists():
        return
    with Reader(footage, deinterlace=footage.interlaced) as frames:
        inspect_footage(frames, str(footage.path))
    write_atomic(note, "")
