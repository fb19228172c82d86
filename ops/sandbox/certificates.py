"""The sandbox's own CA, and the certificate of the endpoint's name."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from config.paths import unfinished

DAYS = 365
RENEWAL = timedelta(days=30)
"""Before their end, from which on new ones are made."""


def make(folder: Path, *names: str) -> None:
    """Write ca.pem and server.pem (certificate and key) for names, which may be wildcards.

    The CA's key is kept nowhere: nobody can sign for RDS names with what lies in the folder.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(timezone.utc)

    def builder(common: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "inv sandbox CA")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=DAYS))
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    no = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    signs = x509.KeyUsage(digital_signature=False, content_commitment=False, key_cert_sign=True, crl_sign=True, **no)
    ca = (
        builder("inv sandbox CA", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        builder("inv sandbox endpoint", key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    write(folder / "server.pem", leaf.public_bytes(pem) + private, 0o600)
    write(folder / "ca.pem", ca.public_bytes(pem), 0o644)


def good(folder: Path, *names: str, now: datetime | None = None) -> bool:
    """Whether both certificates are there, for all of these names, and not near their end."""
    from cryptography import x509

    try:
        ends = [x509.load_pem_x509_certificate((folder / name).read_bytes()) for name in ("ca.pem", "server.pem")]
        for_names = ends[1].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    now = now or datetime.now(timezone.utc)
    fresh = all(one.not_valid_after_utc - now > RENEWAL for one in ends)
    return fresh and set(names) <= set(for_names.get_values_for_type(x509.DNSName))


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file by a rename, so that it is there whole or not at all."""
    with unfinished(path) as (fd, temporary):
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
        os.replace(temporary, path)
