"""Signing keys, their certificates, and the user's list of known signers.

Certificates are self-signed and contain no name: they show that two renders have the same signer, but not who it is.
People who exchange renders compare fingerprints (SHA-256 of the certificate's DER) over another channel and add them to
their lists.
"""

import datetime
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from visagist.core.errors import CredentialsError, OutputError, ReadError
from visagist.core.files import config_dir
from visagist.core.read import read_bytes
from visagist.core.settings import Settings, read_toml

YEARS = 10
MAX_PEM = 1 << 20  # bytes
_CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # C2PA 2.2's own purpose
_DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # expected by earlier validators
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Signer:
    """A private key (PEM, PKCS #8) and its certificate (PEM, followed by its chain, if any)."""

    key: bytes = field(repr=False)
    certificate: bytes
    fingerprint: str  # 64 hexadecimal digits: SHA-256 of the certificate's DER

    @classmethod
    def default(cls) -> Self:
        """The signer named in `config.toml` of the config folder, or else the user's own, created on first use.

            [signer]
            key = "/secrets/key.pem"
            certificate = "/secrets/certificate.pem"

        Raises:
            CredentialsError: the key or certificate is damaged or expired.
            OutputError: the config folder cannot be written.
        """
        given = _configured()
        if given is not None:
            return cls.load(*given)
        folder = default_folder()
        if not folder.is_dir():
            make_signer(folder)
        return cls.load(folder / "key.pem", folder / "certificate.pem")

    @classmethod
    def load(cls, key: Path, certificate: Path) -> Self:
        """Load a signer from files.

        Args:
            key: PEM of an unencrypted P-256 private key.
            certificate: PEM of its certificate, followed by its chain, if any.

        Raises:
            CredentialsError: a file is missing or malformed, key and certificate do not match, or the certificate is
                not valid today.
        """
        try:
            key_pem, chain_pem = read_bytes(key, MAX_PEM), read_bytes(certificate, MAX_PEM)
        except ReadError as error:
            raise CredentialsError(f"{error}; {_remedy(certificate)}") from error
        try:
            private = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CredentialsError(f"{key}: not an unencrypted PEM private key ({error})") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise CredentialsError(f"{key}: signing uses ES256; give an elliptic-curve key on P-256 (secp256r1)")
        try:
            first = x509.load_pem_x509_certificates(chain_pem)[0]
            is_pair = first.public_key() == private.public_key()
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise CredentialsError(f"{certificate}: not a PEM certificate ({error})") from error
        if not is_pair:
            raise CredentialsError(f"{certificate}: does not belong to the key {key}; give the pair")
        now = datetime.datetime.now(datetime.UTC)
        if not first.not_valid_before_utc <= now <= first.not_valid_after_utc:
            raise CredentialsError(
                f"{certificate}: valid from {first.not_valid_before_utc:%Y-%m-%d} to "
                f"{first.not_valid_after_utc:%Y-%m-%d}, not today, and so cannot sign; {_remedy(certificate)}"
            )
        plain = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(plain, chain_pem, fingerprint(first.public_bytes(serialization.Encoding.DER)))


def default_folder() -> Path:
    """Folder of the user's own key and certificate."""
    return config_dir() / "signer"


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate's DER, 64 hexadecimal digits.

    >>> fingerprint(b"")[:8]
    'e3b0c442'
    """
    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate)
    return digest.finalize().hex()


def make_signer(folder: Path) -> None:
    """Create a key (mode 0600) and a certificate for ten years in `folder`, unless another process just did.

    Both are written to a temporary folder, which is then renamed. Renaming onto a folder that is not empty fails, so of
    two processes one wins and the other uses its key.

    Raises:
        OutputError: the folder cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate = make_certificate(key, datetime.datetime.now(datetime.UTC))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".signer-", dir=folder.parent))  # mode 0700
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created ({error.strerror}); set VISAGIST_CONFIG_DIR") from error
    try:
        for name, data in (("key.pem", pem), ("certificate.pem", certificate)):
            descriptor = os.open(temporary / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(folder)
    except OSError as error:
        if not (folder / "certificate.pem").is_file():
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); set VISAGIST_CONFIG_DIR") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_certificate(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> bytes:
    """PEM of a self-signed certificate that conforms to C2PA's profile for claim signing, valid ten years from `now`.

    It starts one day early, in case of slow clocks, and contains no name of a person or machine.
    """
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "visagist"), x509.NameAttribute(NameOID.COMMON_NAME, "signer")]
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)
    purposes = [_CLAIM_SIGNING, _DOCUMENT_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365.25 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(subject_key, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


class KnownSigners(Settings):
    """The file `known_signers.toml`: notes by fingerprint."""

    version: Literal[1] = 1
    signers: dict[str, str] = Field(default_factory=dict)

    @field_validator("signers")
    @classmethod
    def _check(cls, signers: dict[str, str]) -> dict[str, str]:
        for entry in signers:
            if not _FINGERPRINT.fullmatch(entry):
                raise PydanticCustomError("fingerprint", "'{entry}' is not 64 hex digits", {"entry": entry})
        return signers


def known_signers() -> dict[str, str]:
    """Notes on all known signers by fingerprint; the user's own signers have the note `this user`.

    The user's own are the signer in `config.toml` and the one created on first use, if any.

    Raises:
        ConfigError: the list or `config.toml` is not TOML, or an entry is not a fingerprint.
        CredentialsError: a certificate of the user is missing or cannot be read.
    """
    signers = _read_known().signers
    given, made = _configured(), default_folder() / "certificate.pem"
    own = ([given[1]] if given is not None else []) + ([made] if made.is_file() else [])
    return {**signers, **{_fingerprint_of(certificate): "this user" for certificate in own}}


def add_known_signer(entry: str, note: str) -> None:
    """Add a fingerprint to the user's list.

    Args:
        entry: the fingerprint, 64 hexadecimal digits; colons and capitals are accepted.
        note: who the signer is.

    Raises:
        ConfigError: it is not a fingerprint, or the list cannot be read.
        OutputError: the list cannot be written.
    """
    normal = entry.replace(":", "").strip().lower()
    signers = {**_read_known().signers, normal: note}
    KnownSigners.parse({"signers": signers}, _known_path()).save(_known_path())


def remove_known_signer(entry: str) -> None:
    """Remove a fingerprint from the user's list.

    Args:
        entry: the fingerprint, as in `add_known_signer`.

    Raises:
        CredentialsError: it is not on the list.
    """
    normal = entry.replace(":", "").strip().lower()
    signers = dict(_read_known().signers)
    if signers.pop(normal, None) is None:
        raise CredentialsError(f"{_known_path()}: {normal} is not on the list")
    KnownSigners(signers=signers).save(_known_path())


def _configured() -> tuple[Path, Path] | None:
    """Paths of key and certificate in `config.toml`, if given."""
    config = config_dir() / "config.toml"
    given = read_toml(config).get("signer") if config.exists() else None
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) != {"key", "certificate"} or not _are_texts(given.values()):
        raise CredentialsError(f"{config}: [signer] needs key and certificate, paths of two PEM files")
    return Path(given["key"]), Path(given["certificate"])


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _fingerprint_of(certificate: Path) -> str:
    """The fingerprint of a PEM file's first certificate."""
    try:
        first = x509.load_pem_x509_certificates(read_bytes(certificate, MAX_PEM))[0]
    except ReadError as error:
        raise CredentialsError(f"{error}; {_remedy(certificate)}") from error
    except (ValueError, x509.InvalidVersion) as error:
        raise CredentialsError(f"{certificate}: not a PEM certificate ({error}); {_remedy(certificate)}") from error
    return fingerprint(first.public_bytes(serialization.Encoding.DER))


def _known_path() -> Path:
    return config_dir() / "known_signers.toml"


def _read_known() -> KnownSigners:
    path = _known_path()
    return KnownSigners.load(path) if path.exists() else KnownSigners()


def _remedy(certificate: Path) -> str:
    if certificate.parent == default_folder():
        return f"move {certificate.parent} away to create a new key (with a new fingerprint)"
    return "renew it or use another one"
