"""Signing of renders, previews and sheets with C2PA content credentials.

The credentials state that a face was replaced by a trained model (IPTC: composite with trained algorithmic media), in
which target, by which version of visagist, with which model and under which consent records. They contain no picture
and no name of a person or file; credentials that the target already had are kept whole, as C2PA requires.

Signing works offline, without a timestamp authority. Files are streamed and may be larger than 4 GB; c2pa then takes
0.6 GB of memory, and as much temporary disk space as the file.
"""

import datetime
import errno
import io
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Self

import c2pa

from visagist.core.errors import CredentialsError, OutputError
from visagist.core.files import atomic, flush, sync, write_atomic
from visagist.provenance.signer import Signer

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
TOOL = "visagist"
ASSERTION = "org.visagist.render"

EMBEDS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
SIDECARS = {".mkv": "video/x-matroska", ".exr": "image/x-exr"}

# No thumbnails, which would be pictures of people; no automatic actions, which would add a second "opened"; no network;
# and no verification after signing, which would read every file once more.
SETTINGS: dict[str, Any] = {
    "core": {"allowed_network_hosts": []},
    "verify": {
        "verify_after_sign": False,
        "verify_trust": False,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    },
    "builder": {
        "thumbnail": {"enabled": False},
        "actions": {
            "auto_created_action": {"enabled": False},
            "auto_opened_action": {"enabled": False},
            "auto_placed_action": {"enabled": False},
        },
    },
}

_TARGET = "target"  # label and instance id of the ingredient, which reveal nothing of the file
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BUFFER = 1 << 20  # bytes
_SPOOL_FROM = 512 << 20  # bytes; c2pa keeps smaller files in memory while it signs


@dataclass(frozen=True)
class ConsentTerms:
    """What the credentials state about a consent record: its hash and its limits, nothing about the person."""

    sha256: str  # of the record's bytes
    expires: datetime.date | None = None
    uses: tuple[str, ...] = ()
    targets_sha256: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """Contents of the credentials: hashes, dates and names of uses, so that no personal data can enter."""

    model_sha256: str | None  # 64 hex digits, of the weights file; None for a model that is still in training
    consents: tuple[ConsentTerms, ...]  # source first
    is_changed: bool = True  # False if no face was changed and the target was only encoded again
    use: str | None = None  # of the render, as stated by whoever made it
    replaced_models: tuple[str, ...] = ()  # `NAME SHA-256` of face models that the user has replaced

    def __post_init__(self) -> None:
        hashes = [value for each in self.consents for value in (each.sha256, *each.targets_sha256)]
        for value in (*hashes, *([] if self.model_sha256 is None else [self.model_sha256])):
            if not _SHA256.fullmatch(value):
                raise CredentialsError(f"a claim takes SHA-256 hashes of 64 lower-case hex digits, not '{value}'")


class Stamp:
    """Signs any number of files that share a claim and a target.

    The target and its credentials are read only once, so that signing the frames of a sequence takes a few milliseconds
    each.

        with Stamp(claim, target, Signer.default()) as stamp:
            for unsigned, output in frames:
                stamp.sign(unsigned, output)
    """

    def __init__(self, claim: Claim, parent: Path | None, signer: Signer) -> None:
        """Prepare to sign.

        Args:
            claim: contents of the credentials.
            parent: the changed target, a file or the folder of a sequence; None for a file without a target, such as a
                preview, which is then stated as created instead of edited.
            signer: key and certificate.

        Raises:
            CredentialsError: c2pa refuses the key or the certificate.
        """
        self._stack = ExitStack()
        try:
            self._context = self._stack.enter_context(c2pa.Context.from_dict(SETTINGS))
            info = c2pa.C2paSignerInfo("es256", signer.certificate, signer.key, None)
            self._signer = self._stack.enter_context(c2pa.Signer.from_info(info))
            self._manifest = _manifest(claim, edited=parent is not None)
            self._ingredient = None if parent is None else _ingredient(parent, self._manifest, self._context)
        except c2pa.C2paError as error:
            self._stack.close()
            raise CredentialsError(f"cannot sign with certificate {signer.fingerprint[:16]}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the signer."""
        self._stack.close()

    def sign(self, unsigned: Path, output: Path) -> Path:
        """Sign `unsigned` into `output`, delete `unsigned` and return `output`.

        `output` appears complete and signed or not at all, and a sidecar is written before its file. After an error,
        both files are as they were. The caller calls `sync` for the output's folder after its last file.

        Args:
            unsigned: a finished file in the format of `output`'s suffix.
            output: the signed file; its suffix must be in `EMBEDS` or `SIDECARS`.

        Raises:
            CredentialsError: the suffix is not supported, both are the same file, or c2pa refuses the file.
            OutputError: the output cannot be written, or the disk is full.
        """
        suffix = output.suffix.lower()
        if suffix not in EMBEDS and suffix not in SIDECARS:
            raise CredentialsError(f"{output}: cannot be signed; use one of {', '.join([*EMBEDS, *SIDECARS])}")
        if not unsigned.is_file():
            raise CredentialsError(f"{unsigned}: no such file to sign")
        if output.exists() and unsigned.samefile(output):
            raise CredentialsError(f"{output}: an unsigned file must not have the final name; choose another one")
        _check_room(unsigned, output)
        # Beside the unsigned file, which is in a private folder: whatever a kill leaves elsewhere must be signed.
        signed = unsigned.with_name(f"signed-{unsigned.name}")
        try:
            # c2pa reads and writes 8 KB at a time through Python
            with unsigned.open("rb", _BUFFER) as source, signed.open("w+b", _BUFFER) as target:
                manifest = self._sign(suffix, source, target)
            if suffix in SIDECARS:
                write_atomic(sidecar(output), manifest, is_batch=True)
            _publish(signed, output)
        except c2pa.C2paError as error:
            raise CredentialsError(f"{output}: cannot be signed ({error})") from error
        except OSError as error:
            raise OutputError(
                f"{output}: cannot be written ({error.strerror}); free space or choose another place"
            ) from error
        finally:
            signed.unlink(missing_ok=True)
        unsigned.unlink()
        return output

    def sign_picture(self, unsigned: bytes, suffix: str) -> bytes:
        """Sign a picture in memory, so that the unsigned one is never on disk; `suffix` is one of `EMBEDS`.

        Raises:
            CredentialsError: c2pa refuses the picture.
        """
        signed = io.BytesIO()
        try:
            self._sign(suffix, io.BytesIO(unsigned), signed)
        except c2pa.C2paError as error:
            raise CredentialsError(f"the picture cannot be signed ({error})") from error
        return signed.getvalue()

    def _sign(self, suffix: str, source: BinaryIO, target: BinaryIO) -> bytes:
        """Write the signed file to `target`; returns the credentials."""
        watched = _Watched(target)
        with c2pa.Builder(self._manifest, context=self._context) as builder:
            if self._ingredient is not None:
                builder.add_ingredient_from_archive(io.BytesIO(self._ingredient))
            if suffix in SIDECARS:
                builder.set_no_embed()
            try:
                return builder.sign(self._signer, (EMBEDS | SIDECARS)[suffix], source, watched)
            except c2pa.C2paError:
                if watched.error is not None:  # c2pa does not say why a write failed
                    raise watched.error from None
                raise


class _Watched:
    """File object for c2pa that keeps the operating system's error for the message."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        return self._try(self._file.write, data)

    def flush(self) -> None:
        self._try(self._file.flush)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._try(self._file.seek, offset, whence)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell()

    def _try(self, call: Any, *values: Any) -> Any:
        try:
            return call(*values)
        except OSError as error:
            self.error = error
            raise


def sign(unsigned: Path, output: Path, claim: Claim, parent: Path | None, signer: Signer) -> Path:
    """Sign one file: `Stamp(claim, parent, signer).sign(unsigned, output)`.

    Raises:
        CredentialsError: the file cannot be signed.
        OutputError: the output cannot be written.
    """
    with Stamp(claim, parent, signer) as stamp:
        stamp.sign(unsigned, output)
    sync(output.parent)
    return output


def sign_picture(unsigned: bytes, suffix: str, claim: Claim, parent: Path | None, signer: Signer) -> bytes:
    """Sign one picture in memory: `Stamp(claim, parent, signer).sign_picture(unsigned, suffix)`.

    Raises:
        CredentialsError: the picture cannot be signed.
    """
    with Stamp(claim, parent, signer) as stamp:
        return stamp.sign_picture(unsigned, suffix)


def _publish(signed: Path, output: Path) -> None:
    """Move a signed file to its name; across file systems by a copy that is complete before it gets the name."""
    output.parent.mkdir(parents=True, exist_ok=True)
    flush(signed)
    try:
        signed.replace(output)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic(output, is_batch=True) as copy:
            shutil.copyfile(signed, copy)


def sidecar(path: Path) -> Path:
    """Path of the credentials of a file that cannot embed them.

    >>> sidecar(Path("render.mkv")).name
    'render.mkv.c2pa'
    """
    return path.with_name(path.name + ".c2pa")


def _manifest(claim: Claim, *, edited: bool) -> dict[str, Any]:
    if edited:
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_TARGET]}}
        edited_by_us = {"action": "c2pa.edited", "digitalSourceType": SYNTHETIC}
        actions: Sequence[Any] = [opened, edited_by_us if claim.is_changed else {"action": "c2pa.transcoded"}]
    else:
        actions = [{"action": "c2pa.created", "digitalSourceType": SYNTHETIC}]
    render: dict[str, Any] = {
        "signed_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "consent_sha256": [terms.sha256 for terms in claim.consents],
        "consents": [_stated(terms) for terms in claim.consents],
    }
    if claim.use is not None:
        render["use"] = claim.use
    if claim.replaced_models:
        render["replaced_models"] = list(claim.replaced_models)
    if claim.model_sha256 is not None:
        render["model_sha256"] = claim.model_sha256
    return {
        "claim_generator_info": [{"name": TOOL, "version": version("visagist")}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}, "created": True},
            {"label": ASSERTION, "data": render, "created": True},
        ],
    }


def _stated(terms: ConsentTerms) -> dict[str, Any]:
    limits: dict[str, Any] = {"uses": list(terms.uses), "targets_sha256": list(terms.targets_sha256)}
    if terms.expires is not None:
        limits["expires"] = terms.expires.isoformat()
    return {"sha256": terms.sha256, **{name: value for name, value in limits.items() if value}}


def _ingredient(parent: Path, manifest: dict[str, Any], context: c2pa.Context) -> bytes:
    """The target as an ingredient in c2pa's archive format, with its own credentials."""
    stated = {"relationship": "parentOf", "instance_id": _TARGET, "label": _TARGET}
    archive = io.BytesIO()
    kind = EMBEDS.get(parent.suffix.lower())
    if kind is not None and parent.is_file():
        with c2pa.Builder(manifest, context=context) as builder, parent.open("rb") as file:
            try:
                builder.add_ingredient(stated, kind, file)
                builder.write_ingredient_archive(_TARGET, archive)
                return archive.getvalue()
            except c2pa.C2paError:
                archive = io.BytesIO()  # wrong suffix or broken credentials: add the target without them
    with c2pa.Builder(manifest, context=context) as builder:
        builder.add_ingredient(stated, "application/octet-stream", io.BytesIO())
        builder.write_ingredient_archive(_TARGET, archive)
    return archive.getvalue()


def _check_room(unsigned: Path, output: Path) -> None:
    """Check the space for c2pa's temporary copy of a large file before it runs out."""
    size = unsigned.stat().st_size
    temporary = Path(tempfile.gettempdir())
    if size < _SPOOL_FROM:
        return
    shared = temporary.stat().st_dev == unsigned.stat().st_dev  # usually the disk of the output, too
    needed = size * (2 if shared else 1)
    if shutil.disk_usage(temporary).free < needed:
        raise OutputError(
            f"{output}: signing needs {needed / 1e9:.1f} GB of free space in {temporary}; free some, or set TMPDIR to "
            "another disk"
        )
