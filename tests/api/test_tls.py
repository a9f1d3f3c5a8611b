"""TLS files."""

import pytest
import trustme
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
