"""Keys and certificates: creation, profile, and the list of known signers."""

import datetime
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID

from visagist.core.errors import ConfigError, CredentialsError, OutputError
from visagist.provenance import Signer, add_known_signer, known_signers, remove_known_signer
from visagist.provenance.signer import make_certificate

PEM = serialization.Encoding.PEM
PLAIN = (PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def write_pair(folder: Path, since: datetime.datetime) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.pem").write_bytes(key.private_bytes(*PLAIN))
    (folder / "certificate.pem").write_bytes(make_certificate(key, since))
    return folder / "key.pem", folder / "certificate.pem"


def test_the_first_use_creates_a_lasting_key(config: Path) -> None:
    first = Signer.default()
    assert Signer.default() == first
    key = config / "signer" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in config.iterdir()] == ["signer"]
    assert "PRIVATE" not in repr(first)


def test_the_certificate_has_the_profile_for_claims(config: Path) -> None:
    signer = Signer.default()
    certificate = x509.load_pem_x509_certificate(signer.certificate)
    assert certificate.fingerprint(hashes.SHA256()).hex() == signer.fingerprint
    years = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days / 365.25
    assert years == pytest.approx(10, abs=0.01)
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = {each.dotted_string for each in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    assert purposes == {"1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.36", "1.3.6.1.5.5.7.3.4"}
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert ExtensionOID.SUBJECT_ALTERNATIVE_NAME not in {extension.oid for extension in extensions}
    assert certificate.subject.rfc4514_string() == "CN=signer,O=visagist"


def test_racing_processes_share_one_key(config: Path) -> None:
    code = "from visagist.provenance import Signer; print(Signer.default().fingerprint)"
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {child.communicate()[0] for child in children}
    assert len(answers) == 1
    assert answers == {Signer.default().fingerprint + "\n"}
    assert [path.name for path in config.iterdir()] == ["signer"]


def test_an_expired_certificate_is_refused_with_its_remedy(config: Path) -> None:
    write_pair(config / "signer", datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3660))
    with pytest.raises(CredentialsError, match=r"not today.*move .*signer away"):
        Signer.default()


def test_given_files_are_loaded(tmp_path: Path) -> None:
    key, certificate = write_pair(tmp_path / "studio", datetime.datetime.now(datetime.UTC))
    signer = Signer.load(key, certificate)
    assert len(signer.fingerprint) == 64


def test_wrong_files_are_named(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    key, certificate = write_pair(tmp_path / "a", now)
    other, _ = write_pair(tmp_path / "b", now)
    with pytest.raises(CredentialsError, match="does not belong"):
        Signer.load(other, certificate)
    with pytest.raises(CredentialsError, match=r"missing\.pem: no such file"):
        Signer.load(tmp_path / "missing.pem", certificate)
    with pytest.raises(CredentialsError, match="not an unencrypted PEM"):
        Signer.load(certificate, certificate)
    with pytest.raises(CredentialsError, match="not a PEM certificate"):
        Signer.load(key, key)
    rsa_key = tmp_path / "rsa.pem"
    rsa_key.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(*PLAIN))
    with pytest.raises(CredentialsError, match="P-256"):
        Signer.load(rsa_key, certificate)


def test_an_unwritable_config_folder_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="VISAGIST_CONFIG_DIR"):
        Signer.default()


def test_known_signers_are_kept_and_include_the_own_one() -> None:
    assert known_signers() == {}
    own = Signer.default().fingerprint
    studio = "0A:" * 31 + "0a"
    add_known_signer(studio, "Studio North")
    assert known_signers() == {own: "this user", "0a" * 32: "Studio North"}
    remove_known_signer(studio)
    assert known_signers() == {own: "this user"}
    with pytest.raises(CredentialsError, match="not on the list"):
        remove_known_signer(studio)


def configure(config: Path, **given: object) -> None:
    config.mkdir(exist_ok=True)
    (config / "config.toml").write_text(tomli_w.dumps({"signer": given}))


def test_a_signer_of_the_users_own_config_is_known(tmp_path: Path, config: Path) -> None:
    made = Signer.default().fingerprint
    key, certificate = write_pair(tmp_path / "studio", datetime.datetime.now(datetime.UTC))
    configure(config, key=str(key), certificate=str(certificate))
    own = Signer.default().fingerprint
    assert own != made
    assert known_signers() == {
        own: "this user",
        made: "this user",
    }  # the previous signer remains the user's own
    shutil.rmtree(config / "signer")
    assert known_signers() == {own: "this user"}


def test_a_wrongly_configured_signer_is_named(tmp_path: Path, config: Path) -> None:
    configure(config, key="key.pem", certificate=str(tmp_path / "missing.pem"))
    with pytest.raises(CredentialsError, match=r"missing\.pem: no such file"):
        known_signers()
    for wrong in ({"key": "key.pem"}, {"key": 1, "certificate": 2}):
        configure(config, **wrong)
        for look in (known_signers, Signer.default):
            with pytest.raises(CredentialsError, match=r"config\.toml: \[signer\] needs key and certificate"):
                look()


def test_an_invalid_fingerprint_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match="64 hex digits"):
        add_known_signer("Studio North", "")
    config.mkdir()
    (config / "known_signers.toml").write_text('version = 1\n[signers]\nab = "x"\n')
    with pytest.raises(ConfigError, match=r"known_signers\.toml"):
        known_signers()
