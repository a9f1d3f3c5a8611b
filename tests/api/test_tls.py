"""TLS files."""

import os

import pytest
import trustme
from cryptography.exceptions import UnsupportedAlgorithm
from structlog.testing import capture_logs

from service.api.tls import TlsError, TlsFiles, TlsWatch


def test_files_that_cannot_be_used_are_named(tls_files: TlsFiles, authority: trustme.CA) -> None:
    for path, content, message in (
        (tls_files.certificate, b"text", "no PEM certificate"),
        (tls_files.private_key, b"text", "no unencrypted PEM private key"),
        (tls_files.private_key, authority.issue_cert("x").private_key_pem.bytes(), "is not the key of the certificate"),
    ):
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(TlsError, match=message):
            tls_files.read()
        path.write_bytes(before)
    tls_files.private_key.unlink()
    with pytest.raises(TlsError, match="cannot read"):
        tls_files.read()


def test_the_authority_of_clients_is_read_too(mutual_tls_files: TlsFiles) -> None:
    assert mutual_tls_files.client_ca is not None
    assert mutual_tls_files.read().client_ca == mutual_tls_files.client_ca.read_bytes()
    mutual_tls_files.client_ca.write_bytes(b"text")
    with pytest.raises(TlsError, match=r"ca\.crt holds no PEM certificate"):
        mutual_tls_files.read()


def test_the_first_certificate_of_a_chain_is_the_servers(tls_files: TlsFiles, authority: trustme.CA) -> None:
    leaf = authority.create_child_ca().issue_cert("localhost")
    tls_files.certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    tls_files.private_key.write_bytes(leaf.private_key_pem.bytes())
    assert tls_files.read().certificate.count(b"BEGIN CERTIFICATE") > 1


def test_a_key_of_another_certificate_is_refused_whichever_it_is(tls_files: TlsFiles, authority: trustme.CA) -> None:
    pairs = authority.issue_cert("a"), authority.issue_cert("b")
    for certificate, key in (pairs, pairs[::-1]):
        tls_files.certificate.write_bytes(certificate.cert_chain_pems[0].bytes())
        tls_files.private_key.write_bytes(key.private_key_pem.bytes())
        with pytest.raises(TlsError, match="is not the key"):
            tls_files.read()


@pytest.mark.parametrize("error", [ValueError(), TypeError(), UnsupportedAlgorithm("x")])
def test_a_key_that_cannot_be_read_is_named(
    tls_files: TlsFiles, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("service.api.tls.serialization.load_pem_private_key", load)
    with pytest.raises(TlsError, match="no unencrypted PEM private key"):
        tls_files.read()


def test_files_of_an_older_date_are_new_too(tls_files: TlsFiles, authority: trustme.CA) -> None:
    """As a copy that keeps the dates of what it copies leaves them."""
    watch = TlsWatch(tls_files)
    other = authority.issue_cert("localhost")
    for path, content in (
        (tls_files.certificate, other.cert_chain_pems[0].bytes()),
        (tls_files.private_key, other.private_key_pem.bytes()),
    ):
        path.write_bytes(content)
        os.utime(path, (0, 0))
    assert watch.changed() == tls_files.read()


def test_the_key_is_not_in_the_repr(tls_files: TlsFiles) -> None:
    assert "PRIVATE" not in repr(tls_files.read())


def test_files_are_read_again_when_they_change(tls_files: TlsFiles, authority: trustme.CA) -> None:
    watch = TlsWatch(tls_files)
    first = watch.current
    assert watch.changed() is None
    # Written again as they were.
    tls_files.certificate.write_bytes(first.certificate)
    assert watch.changed() is None
    other = authority.issue_cert("localhost")
    other.cert_chain_pems[0].write_to_path(str(tls_files.certificate))
    with capture_logs() as logs:
        assert watch.changed() is None
        assert watch.changed() is None
    # The key is not there yet; that is said once.
    assert [line["event"] for line in logs] == ["tls files not usable, keeping the last good ones"]
    assert watch.current is first
    other.private_key_pem.write_to_path(str(tls_files.private_key))
    second = watch.changed()
    assert second == tls_files.read() != first
    assert watch.current is second
    assert watch.changed() is None
    tls_files.private_key.unlink()
    assert watch.changed() is None
    assert watch.current is second
