"""Certificates for tests, and files with them that change while a server runs."""

import os
from pathlib import Path

import grpc
import pytest
import trustme

from service.api.tls import TlsFiles


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
