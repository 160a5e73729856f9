"""Certificates: a local authority in the state folder, or files that are given."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilotage.domain.errors import BadInput

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files of a server: its certificate (chain) and its key."""

    certificate: Path
    key: Path


def given(certificate: str, key: str) -> Files:
    """Files that must be there."""
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise BadInput(f"{path} cannot be read", "--tls-cert and --tls-key name PEM files")
    return Files(Path(certificate), Path(key))


def automatic(authority: Path, names: Iterable[str]) -> Files:
    """A certificate for `names`, signed by the authority at `authority`, which is made if it is
    not there. Both are made again when they are about to end; keys have mode 0600."""
    folder = authority.parent
    files = Files(folder / "server.pem", folder / "server.key")
    if ensure(authority):
        files.certificate.unlink(missing_ok=True)
    wanted = frozenset(names)
    if not _lasts(files.certificate) or _names(files.certificate) != wanted:
        signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        issuer = x509.load_pem_x509_certificate(authority.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(files.key, key)
        made = _server(key, wanted, issuer, signer)
        _write(files.certificate, made.public_bytes(serialization.Encoding.PEM))
    return files


def ensure(authority: Path) -> bool:
    """Make the authority at `authority` if it is not there or about to end. Was it made?"""
    folder = authority.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if _lasts(authority):
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "ca.key", key)
    _write(authority, _authority(key).public_bytes(serialization.Encoding.PEM))
    return True


def _lasts(path: Path) -> bool:
    """There is a certificate, good for some time yet."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    return certificate.not_valid_after_utc > _now() + datetime.timedelta(days=RENEW_DAYS)


def _names(path: Path) -> frozenset[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return frozenset(str(name.value) for name in names)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pilotage local authority")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey,
    names: Iterable[str],
    issuer: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pilotage")])
    alternative = x509.SubjectAlternativeName([_general(name) for name in sorted(names)])
    known = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(subject, issuer.subject, key, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternative, critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(by, critical=False)
        .sign(signer, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(hours=1))
        .not_valid_after(_now() + datetime.timedelta(days=days))
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write(path, key.private_bytes(encoding, form, serialization.NoEncryption()))


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by the owner alone."""
    temporary = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
