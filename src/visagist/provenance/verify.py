"""Verification of content credentials.

A verdict is about bytes and keys: the file is what a certain key signed, or it is not. Whether to trust the owner of
the key, identified by its fingerprint, is up to the reader. Certificates that are self-signed or have expired since are
no sign of tampering; a hash or signature that does not match is.

Each frame of a sequence is signed individually, so missing or reordered frames are not detected.
"""

import io
import mmap
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import c2pa
from cryptography import x509

from visagist.core.errors import CredentialsError, ReadError
from visagist.core.read import check_regular, parse_json, read_bytes
from visagist.core.text import plural, printable
from visagist.core.types import StrPath
from visagist.provenance.credentials import ASSERTION, EMBEDS, SETTINGS, SIDECARS, SYNTHETIC, TOOL, sidecar
from visagist.provenance.jumbf import signing_certificate
from visagist.provenance.signer import fingerprint, known_signers

Verdict = Literal[
    "made by visagist, signer known", "claims visagist, signer unknown", "signed by other", "tampered", "no evidence"
]
KNOWN: Verdict = "made by visagist, signer known"
UNKNOWN: Verdict = "claims visagist, signer unknown"
OTHER: Verdict = "signed by other"
TAMPERED: Verdict = "tampered"
NO_EVIDENCE: Verdict = "no evidence"
VERDICTS: tuple[Verdict, ...] = (KNOWN, UNKNOWN, OTHER, NO_EVIDENCE, TAMPERED)

# Failures reported by c2pa although the file is what was signed.
_HARMLESS = frozenset(
    {
        "signingCredential.untrusted",
        "signingCredential.expired",
        "claimSignature.outsideValidity",
        "timeStamp.untrusted",
        "timeStamp.outsideValidity",
    }
)
# Boxes of a C2PA manifest, and the box that contains it in MP4 and MOV: remains of damaged credentials. Every manifest
# has several, so that small damage does not hide all of them.
_BOX = re.compile(rb"jumdc2(?:pa|ma|um|cl|as|cs)\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq")
_MP4_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Media whose lack of credentials a folder's verdict must count, whether or not visagist writes them.
MEDIA = {*EMBEDS, *SIDECARS} | {
    *(".avi", ".webm", ".mpg", ".mpeg", ".mxf", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv", ".gif"),
    *(".webp", ".bmp", ".heic", ".heif", ".avif", ".dpx", ".tga", ".jxl"),
    *(".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus"),
}
MAX_SIDECAR = 1 << 28  # bytes


@dataclass(frozen=True)
class Verification:
    """Result for a file, or for all files of a folder together."""

    path: Path
    verdict: Verdict  # for a folder, the worst of its files
    fingerprint: str | None = None  # SHA-256 of the signer's certificate, if the signature contains one
    signer: str | None = None  # the user's note on a known signer
    calls_itself: str | None = None  # name in the certificate, unverified
    tool: str | None = None  # claim generator and version, as stated
    actions: tuple[str, ...] = ()  # as stated, first to last, such as `c2pa.edited`
    synthetic: bool = False  # whether part of the file is stated to be made by a trained model
    model_sha256: str | None = None  # as stated by visagist
    consents: tuple[str, ...] = ()  # hashes of the consent records, source first, as stated by visagist
    terms: tuple[str, ...] = ()  # limits of each record, and whether they held on the day of signing, as stated
    use: str | None = None  # what the file is for, as stated
    replaced_models: tuple[str, ...] = ()  # face models other than those that ship with visagist, as stated
    parent: bool = False  # whether the target is among the ingredients
    problems: tuple[str, ...] = ()  # reasons for the verdict "tampered", and other remarks
    sidecar: Path | None = None  # file that the credentials were read from, if not embedded
    files: int = 1  # number of files that the verdict covers
    worst: tuple[str, ...] = ()  # names of up to ten files with the folder's verdict, if others have a better one

    @property
    def ok(self) -> bool:
        """Signed, and unchanged since."""
        return self.verdict in (KNOWN, UNKNOWN, OTHER)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return {**values, "ok": self.ok}

    def as_text(self) -> str:
        """The result as lines of text."""
        lines = [f"{printable(self.path)}: {self.verdict}"]
        if self.files > 1:
            lines.append(f"  files      {self.files}")
        lines += [f"  worst      {printable(name)}" for name in self.worst]
        if self.fingerprint is not None:
            lines.append(f"  signer     {self.fingerprint}")
            unchecked = f"not on your list; calls itself '{self.calls_itself}' (unverified)"
            lines.append(
                f"             {unchecked if self.signer is None else f'known to you as: {printable(self.signer)}'}"
            )
        if self.tool is not None:
            lines.append(f"  tool       {self.tool}")
        if self.actions:
            lines.append(f"  actions    {', '.join(self.actions)}" + (" (synthetic)" if self.synthetic else ""))
        if self.model_sha256 is not None:
            lines.append(f"  model      {self.model_sha256}")
        for number, consent in enumerate(self.consents):
            lines.append(f"  consent    {consent}")
            if self.terms[number : number + 1] not in ((), ("",)):
                lines.append(f"             {self.terms[number]}")
        if self.use is not None:
            lines.append(f"  use        {self.use}")
        lines += [f"  replaced   {model}" for model in self.replaced_models]
        if self.actions:
            lines.append(f"  target     {'among the ingredients' if self.parent else 'none stated'}")
        if self.sidecar is not None:
            lines.append(f"  read from  {printable(self.sidecar)}")
        lines += [f"  problem    {problem}" for problem in self.problems]
        return "\n".join(lines)


def verify(path: StrPath) -> Verification:
    """Check the content credentials of a file, or of every picture, video and audio file in a folder.

    Files of folders inside it count, and hidden files too: whoever passes on a folder vouches for all of it.

    Credentials are read from the file itself, from `FILE.EXT.c2pa`, or from `FILE.c2pa` if it belongs to no other file.
    Nothing is fetched from the network.

    Args:
        path: a file, or the folder of an image sequence.

    Raises:
        CredentialsError: the file is missing or cannot be read, or the folder contains no picture or video.
        ConfigError: the user's list of known signers cannot be read.
    """
    path, known = Path(path), known_signers()
    with c2pa.Context.from_dict(SETTINGS) as context:
        if not path.is_dir():
            return _verify_file(path, known, context)
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in MEDIA and file.is_file())
        if not files:
            raise CredentialsError(f"{path}: no picture or video in this folder; give the render")
        return _combined(path, [_verify_file(file, known, context) for file in files])


def _combined(folder: Path, found: Sequence[Verification]) -> Verification:
    """The result for a folder: the worst verdict, and other values where all files agree."""
    verdict = VERDICTS[max(VERDICTS.index(one.verdict) for one in found)]
    worst = [one for one in found if one.verdict == verdict]

    def agreed(name: str, otherwise: Any) -> Any:
        values = {getattr(one, name) for one in found}
        return values.pop() if len(values) == 1 else otherwise

    counts = Counter(one.verdict for one in found)
    mixed = tuple(f"{counts[each]} of {len(found)} files: {each}" for each in VERDICTS if counts[each])
    if len({one.fingerprint for one in found}) > 1:
        mixed += ("the files do not all have the same signer",)
    return Verification(
        path=folder,
        verdict=verdict,
        fingerprint=agreed("fingerprint", None),
        signer=agreed("signer", None),
        calls_itself=agreed("calls_itself", None),
        tool=agreed("tool", None),
        actions=agreed("actions", ()),
        synthetic=any(one.synthetic for one in found),
        model_sha256=agreed("model_sha256", None),
        consents=agreed("consents", ()),
        terms=agreed("terms", ()),
        use=agreed("use", None),
        replaced_models=agreed("replaced_models", ()),
        parent=all(one.parent for one in found),
        problems=agreed("problems", ()) if len(counts) == 1 else mixed,
        files=len(found),
        worst=tuple(str(one.path.relative_to(folder)) for one in worst[:10]) if len(worst) < len(found) else (),
    )


def _verify_file(path: Path, known: dict[str, str], context: c2pa.Context) -> Verification:
    try:
        check_regular(path)
        with path.open("rb") as file:
            return _read(path, file, known, context)
    except ReadError as error:
        raise CredentialsError(f"{error}; give a picture, a video or a folder") from error
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read ({error.strerror})") from error


def _read(path: Path, file: io.BufferedReader, known: dict[str, str], context: c2pa.Context) -> Verification:
    # c2pa detects the format from the content, so that renamed files keep their credentials
    try:
        with c2pa.Reader(None, file, context=context) as reader:
            return _verified(path, reader, known, None)
    except c2pa.C2paError as error:
        unread = str(error)
    beside = _find_sidecar(path)
    if beside is not None:
        try:
            file.seek(0)
            kind = {**EMBEDS, **SIDECARS}.get(path.suffix.lower(), "application/octet-stream")
            with c2pa.Reader(kind, file, read_bytes(beside, MAX_SIDECAR), context=context) as reader:
                return _verified(path, reader, known, beside)
        except c2pa.C2paError as error:
            problem = f"the credentials in {beside.name} cannot be read ({error})"
            return Verification(path, TAMPERED, problems=(problem,), sidecar=beside)
    if path.suffix.lower() not in SIDECARS and _has_remains(file):
        return Verification(path, TAMPERED, problems=(f"holds credentials that cannot be read ({unread})",))
    return Verification(path, NO_EVIDENCE)


def _find_sidecar(path: Path) -> Path | None:
    own = sidecar(path)
    if own.is_file():
        return own
    shared = path.with_suffix(".c2pa")  # as named by other tools
    if shared == path or not shared.is_file():
        return None
    namesakes = [other for other in path.parent.iterdir() if other.stem == path.stem and other not in (path, shared)]
    return None if namesakes else shared


def _has_remains(file: io.BufferedReader) -> bool:
    if file.seek(0, io.SEEK_END) == 0:
        return False
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_MP4_BOX) >= 0 or _BOX.search(data) is not None


def _verified(path: Path, reader: c2pa.Reader, known: dict[str, str], beside: Path | None) -> Verification:
    """The result for credentials that could be read."""
    try:
        found: dict[str, Any] = parse_json(reader.json(), path)
    except ReadError as error:
        return Verification(path, TAMPERED, problems=(_shown(error),), sidecar=beside)
    label = str(found.get("active_manifest"))
    manifest = found.get("manifests", {}).get(label)
    if manifest is None:
        problem = "the credentials have no active manifest"
        return Verification(path, TAMPERED, problems=(problem,), sidecar=beside)
    problems = _problems(found)
    mark, name = _signer(reader, label, manifest)
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    assertions = {each["label"]: each.get("data", {}) for each in manifest.get("assertions", [])}
    listed = [data for key, data in assertions.items() if key.startswith("c2pa.actions")]
    actions = [action for data in listed for action in data.get("actions", [])]
    render = assertions.get(ASSERTION)
    ours = generator.get("name") == TOOL and isinstance(render, dict)
    if problems:
        verdict = TAMPERED
    elif not ours:
        verdict = OTHER
    else:
        verdict = KNOWN if mark is not None and mark in known else UNKNOWN
    stated = render if ours and isinstance(render, dict) else {}
    tool = " ".join(str(generator[key]) for key in ("name", "version") if generator.get(key))
    return Verification(
        path=path,
        verdict=verdict,
        fingerprint=mark,
        signer=known.get(mark or ""),
        calls_itself=None if name is None else _shown(name),
        tool=_shown(tool) if tool else None,
        actions=tuple(_shown(action.get("action")) for action in actions),
        synthetic=any(_is_synthetic(action) for action in actions),
        model_sha256=next(iter(_hashes(stated.get("model_sha256"))), None),
        consents=_hashes(stated.get("consent_sha256")),
        terms=_terms(stated),
        use=_shown(stated["use"]) if isinstance(stated.get("use"), str) else None,
        replaced_models=tuple(_shown(each) for each in _list(stated.get("replaced_models"))),
        parent=any(each.get("relationship") == "parentOf" for each in manifest.get("ingredients", [])),
        problems=problems,
        sidecar=beside,
    )


def _problems(found: dict[str, Any]) -> tuple[str, ...]:
    """Distinct validation failures; a state of `Invalid` without a reason counts as one."""
    results = found.get("validation_results", {})
    deltas = [delta.get("validationDeltas", {}) for delta in results.get("ingredientDeltas", [])]
    statuses = list(found.get("validation_status", []))
    for part in (results.get("activeManifest", {}), *deltas):
        statuses += part.get("failure", [])
    bad = [status for status in statuses if status["code"] not in _HARMLESS]
    if found.get("validation_state") == "Invalid" and not statuses:
        bad = [{"code": "the credentials are invalid"}]
    texts = [f"{status['code']}: {status.get('explanation', '')}".rstrip(": ") for status in bad]
    return tuple(dict.fromkeys(_shown(text) for text in texts))


def _shown(text: object) -> str:
    """Text of unknown length from a file, for one line."""
    return printable(text)[:200]


def _hashes(value: Any) -> tuple[str, ...]:
    return tuple(each for each in (value if isinstance(value, list) else [value]) if _SHA256.fullmatch(str(each)))


def _terms(stated: dict[str, Any]) -> tuple[str, ...]:
    """The limits of each consent record, and whether they held; empty for a record without limits."""
    signed_on, use = str(stated.get("signed_on", "")), stated.get("use")
    found: list[str] = []
    for each in _list(stated.get("consents")):
        terms: dict[str, Any] = each if isinstance(each, dict) else {}
        parts: list[str] = []
        if isinstance(expires := terms.get("expires"), str):
            held = "valid" if signed_on <= expires else "expired"  # both are ISO dates
            parts.append(f"expires {expires}: {held} when signed on {signed_on or 'an unknown day'}")
        if uses := [str(one) for one in _list(terms.get("uses"))]:
            parts.append(f"uses {', '.join(uses)}: {'kept' if use in uses else 'not kept'}")
        if targets := _list(terms.get("targets_sha256")):
            parts.append(f"limited to {plural(len(targets), 'target')}")
        found.append(_shown("; ".join(parts)))
    return tuple(found)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_synthetic(action: dict[str, Any]) -> bool:
    return str(action.get("digitalSourceType", "")).rsplit("/", 1)[-1].lower() in (
        SYNTHETIC.rsplit("/", 1)[-1].lower(),
        "trainedalgorithmicmedia",
    )


def _signer(reader: c2pa.Reader, label: str, manifest: dict[str, Any]) -> tuple[str | None, str | None]:
    """Fingerprint of the certificate, and its name."""
    info = manifest.get("signature_info") or {}
    name = info.get("common_name") or info.get("issuer")
    store = io.BytesIO()
    try:
        reader.resource_to_stream(f"self#jumbf=/c2pa/{label}", store)
    except c2pa.C2paError:
        return None, name
    certificate = signing_certificate(store.getvalue(), label)
    if certificate is None:
        return None, name
    try:
        serial = x509.load_der_x509_certificate(certificate).serial_number
    except (ValueError, x509.InvalidVersion):
        return None, name
    # only if it is the certificate that c2pa checked the signature with
    return (fingerprint(certificate) if str(serial) == info.get("cert_serial_number") else None), name
