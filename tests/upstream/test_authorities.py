"""Where the system's certificate authorities are looked for."""

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.upstream.authorities import system_authorities


def pem(text: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"\n-----END CERTIFICATE-----"


FIRST, SECOND, THIRD = pem(b"Zmlyc3Q="), pem(b"c2Vjb25k"), pem(b"dGhpcmQ=")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file.pem").write_bytes(b"# The first\n" + FIRST + b"\n# The second\n" + SECOND + b"\n")
    (tmp_path / "0123abcd.0").write_bytes(SECOND)
    (tmp_path / "fedcba98.12").write_bytes(THIRD + b"\n")
    (tmp_path / "readme.txt").write_bytes(b"no authority")
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"SSL_CERT_FILE": "file.pem"}, [FIRST, SECOND]),
        ({"SSL_CERT_DIR": "."}, [SECOND, THIRD]),
        ({"SSL_CERT_FILE": "file.pem", "SSL_CERT_DIR": "."}, [FIRST, SECOND, THIRD]),
        ({"SSL_CERT_FILE": "none.pem"}, []),
    ],
)
def test_the_environment_names_them_and_each_comes_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: list[bytes]
) -> None:
    for name, path in variables.items():
        monkeypatch.setenv(name, str(folder / path))
    assert system_authorities() == b"\n".join(found)


@pytest.mark.parametrize(("cafile", "found"), [("file.pem", [FIRST, SECOND]), (None, [SECOND, THIRD])])
def test_without_it_openssls_own_places_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cafile: str | None, found: list[bytes]
) -> None:
    paths = SimpleNamespace(cafile=str(folder / cafile) if cafile else None, capath=str(folder))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert system_authorities() == b"\n".join(found)
