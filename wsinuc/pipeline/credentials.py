"""Certificates that a run makes for its own processes, so that nobody else can speak to them.

One key pair is made for each run and serves all of its processes: whoever cannot show the certificate is
refused during the TLS handshake, before a byte of Dask's protocol is read. Key and certificate live in memory,
and reach the worker processes through the pipe by which Python starts them. They are on no command line and in
no environment; Python's TLS reads keys from files only, so each process has a copy on disk, in a temporary
folder of mode 0700, for the moment of loading it.

``distributed.Security.temporary`` does nearly the same. Its certificate is valid from now on, though, so a
computer whose clock is set back by a minute would refuse its own processes; and its RSA keys take longer to
make and to use.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Security

_VALID_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(2999, 1, 1, tzinfo=UTC)
"""A key that ends with its run needs no end of its own, and clocks may be wrong."""


def private_security() -> Security:
    """Dask's security settings with a new key and certificate for every role, encryption required."""
    # An elliptic curve: an RSA key takes longer to make and to use.
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    certificate = _self_signed(key).public_bytes(serialization.Encoding.PEM).decode()
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_client_cert=certificate,
        tls_client_key=pem,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=pem,
        tls_worker_cert=certificate,
        tls_worker_key=pem,
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A certificate that is its own authority, with the extensions that OpenSSL's strict mode asks of one."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wsinuc run")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
