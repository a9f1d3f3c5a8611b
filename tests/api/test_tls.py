"""TLS files."""

import pytest
import trustme

from service.api.tls import TlsError, TlsFiles


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
