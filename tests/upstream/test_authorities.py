"""Where the system's certificate authorities are looked for."""

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.upstream.authorities import system_authorities


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file.pem").write_bytes(b"of the file")
    (tmp_path / "0123abcd.0").write_bytes(b"first")
    (tmp_path / "fedcba98.12").write_bytes(b"second")
    (tmp_path / "readme.txt").write_bytes(b"no authority")
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"SSL_CERT_FILE": "file.pem"}, b"of the file"),
        ({"SSL_CERT_DIR": "."}, b"first\nsecond"),
        ({"SSL_CERT_FILE": "file.pem", "SSL_CERT_DIR": "."}, b"of the file\nfirst\nsecond"),
        ({"SSL_CERT_FILE": "none.pem"}, b""),
    ],
)
def test_the_environment_names_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: bytes
) -> None:
    for name, path in variables.items():
        monkeypatch.setenv(name, str(folder / path))
    assert system_authorities() == found


@pytest.mark.parametrize(("cafile", "found"), [("file.pem", b"of the file"), (None, b"first\nsecond")])
def test_without_it_openssls_own_places_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cafile: str | None, found: bytes
) -> None:
    paths = SimpleNamespace(cafile=str(folder / cafile) if cafile else None, capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert system_authorities() == found
