"""Certificates for tests, and files with them that change while a server runs."""

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.api.tls import TlsFiles
from service.upstream import http

_AUTHORITY: Final = trustme.CA().cert_pem.bytes()


@contextmanager
def one_authority() -> Iterator[None]:
    """Lets HTTP clients that are made in the block trust one authority in the place of the system's.

    The sandbox speaks plain HTTP. To read the system's hundred takes a fifth of the start of a service, and of a first call.
    """
    with mock.patch.object(http, "system_authorities", return_value=_AUTHORITY):
        yield


def replace_files(certificate: trustme.LeafCert, folder: Path) -> None:
    """Replaces the files as deployment tools do: each by a rename."""
    for name, blob in (("tls.crt", certificate.cert_chain_pems[0]), ("tls.key", certificate.private_key_pem)):
        fresh = folder / f"{name}.new"
        blob.write_to_path(str(fresh))
        os.replace(fresh, folder / name)  # noqa: PTH105


def tls_settings(folder: Path, authority: trustme.CA) -> dict[str, str]:
    """Writes a certificate for this machine, and its authority as `ca.crt`; returns the settings of a service with TLS."""
    replace_files(authority.issue_cert("localhost", "127.0.0.1"), folder)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    return {"SEQSTEP_TLS_CERTIFICATE": str(folder / "tls.crt"), "SEQSTEP_TLS_PRIVATE_KEY": str(folder / "tls.key")}


def trusting(authority: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    """Credentials of a channel that trusts the authority, with a certificate of its own if it has one."""
    return grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        client.private_key_pem.bytes() if client else None,
        client.cert_chain_pems[0].bytes() if client else None,
    )


def client_certificate(
    authority: trustme.CA, names: Sequence[x509.GeneralName] | None, *common_names: str
) -> trustme.LeafCert:
    """A client certificate with any names, also such as trustme refuses to issue.

    Args:
        authority: Who signs it.
        names: Its alternative names; None for a certificate without that extension.
        common_names: Its common names.
    """
    signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(signer, EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests")]
    attributes += [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return trustme.LeafCert(key_pem, certificate.public_bytes(serialization.Encoding.PEM), [])


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def tls_files(authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    """The files of a server's certificate for `localhost`."""
    replace_files(authority.issue_cert("localhost"), tmp_path)
    return TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")


@pytest.fixture
def mutual_tls_files(tls_files: TlsFiles, authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    """The same, with the authority of client certificates."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return TlsFiles(tls_files.certificate, tls_files.private_key, tmp_path / "ca.crt")
