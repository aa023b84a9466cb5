"""Consent and safeguard checks that every render and preview passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConsentError
from visagist.core.files import write_atomic
from visagist.core.types import StrPath
from visagist.faces import FaceTable, picture_embeddings
from visagist.media import Footage, Reader
from visagist.models.bundle import TrainedNetwork
from visagist.provenance import Consent, check_person, inspect_footage, load_consent, record_sha256
from visagist.zoo.sessions import model_sha256

STEP = "consent"


@dataclass(frozen=True)
class Records:
    """The consent records of one render, read before any work is done."""

    source: Consent
    target: Consent
    source_path: Path
    target_path: Path
    hashes: tuple[str, str]  # SHA-256 of the records' bytes when they were read, source first

    @classmethod
    def load(cls, source: StrPath | None, target: StrPath | None) -> "Records":
        """Read both records.

        Raises:
            ConsentError: one was not given, or cannot be used; the message says how to make one.
        """
        source, target = _both_given(source, target)
        hashes = record_sha256(source), record_sha256(target)
        return cls(load_consent(source), load_consent(target), source, target, hashes)

    def check_trained(self, run: TrainedNetwork, person: str) -> None:
        """Check that the faces of the person who will appear, which a run was trained on, are those of the record.

        Args:
            run: that was trained on them.
            person: by the run's name.

        Raises:
            ConsentError: they are not, or nothing tells.
            RunError: the run does not know the person.
        """
        origin = run.origin(person)
        if origin.is_alone is None and not self.source.pictures:
            raise ConsentError(
                f"{self.source_path} (--source-consent): has no reference pictures, and {run.path} does not say "
                "whether the footage of its source shows one person alone, without which a hash binds nobody; give a "
                "record with pictures (`visagist consent new --picture`), or extract the source again and call train "
                "with it, which only adds what is missing"
            )
        # A hash of footage that shows several people says nothing of which of them agreed.
        self.check_source(set(origin.footage) if origin.is_alone else set(), origin.centroid)

    def check_source(self, footage_sha256s: set[str], centroid: Sequence[float] | NDArray[np.floating]) -> None:
        """Check that the source's faces are those of its record.

        Args:
            footage_sha256s: hashes of all files that the source's faceset was made from.
            centroid: `(128,)` mean embedding of the faceset; may be empty.

        Raises:
            ConsentError: they are not, or nothing tells.
        """
        _check(self.source, self.source_path, "source", footage_sha256s, np.asarray(centroid, np.float32))

    def check_target(self, footage_sha256s: set[str], embedding: NDArray[np.floating]) -> None:
        """Check that the performer in the target is the person of the record; arguments as in `check_source`.

        Raises:
            ConsentError: it is somebody else, or nothing tells.
        """
        _check(self.target, self.target_path, "target", footage_sha256s, np.asarray(embedding, np.float32))


def _both_given(source: StrPath | None, target: StrPath | None) -> tuple[Path, Path]:
    """The paths of both consent records.

    Raises:
        ConsentError: one of them is None.
    """
    if source is None or target is None:
        missing = [f"--{name}-consent" for name, path in (("source", source), ("target", target)) if path is None]
        raise ConsentError(
            f"no {' and no '.join(missing)} given: a render needs the consent records of both people; "
            "`visagist consent new RECORD.toml` makes one"
        )
    return Path(source), Path(target)


def _check(record: Consent, path: Path, whose: str, footage_sha256s: set[str], embedding: NDArray[np.float32]) -> None:
    try:
        check_person(
            record,
            path.parent,
            footage_sha256s=footage_sha256s,
            embedding=embedding if embedding.size else None,
            embed=picture_embeddings,
        )
    except ConsentError as error:
        raise ConsentError(f"{path} (--{whose}-consent): {error}") from error


def covered_by_hash(table: FaceTable, performer: int) -> set[str]:
    """The hash of footage, if it shows the performer and nobody else; else it does not tell who agreed, and is none."""
    return {table.footage_sha256} if all(face.identity == performer for face in table) else set()


def check_footage(footage: Footage, footage_sha256: str, folder: Path) -> None:
    """Run the safeguard over the target, once for each version of the target and of the classifier.

    Args:
        footage: the target.
        footage_sha256: its hash.
        folder: where the note is kept that it passed.

    Raises:
        SafeguardError: it seems to show intimate imagery.
    """
    note = folder / f"passed-{footage_sha256[:16]}-{model_sha256('safeguard')[:8]}"
    if footage.kind == "sequence" and footage.rate:  # which decides the frames that are looked at
        note = note.with_name(f"{note.name}-{float(footage.rate):.3f}")
    if note.exists():
        return
    with Reader(footage, deinterlace=footage.interlaced) as frames:
        inspect_footage(frames, str(footage.path))
    write_atomic(note, "")
