"""Reads the files of a server's TLS, and reads them again when they change."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

log: Final = structlog.get_logger("service.tls")


class TlsError(Exception):
    """The certificate, its key or the authority of client certificates cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a server's TLS.

    Attributes:
        certificate: The certificate chain, PEM.
        private_key: Its key, PEM.
        client_ca: The authority of client certificates, PEM; None if clients need none.
    """

    certificate: Path
    private_key: Path
    client_ca: Path | None = None

    def read(self) -> "TlsMaterial":
        """Reads and checks the files.

        Raises:
            TlsError: A file cannot be read, or what it holds cannot be used.
        """
        try:
            material = TlsMaterial(
                self.certificate.read_bytes(),
                self.private_key.read_bytes(),
                self.client_ca.read_bytes() if self.client_ca else None,
            )
        except OSError as error:
            raise TlsError(f"cannot read {error.filename}: {error.strerror}") from None
        self._check(material)
        return material

    def _check(self, material: "TlsMaterial") -> None:
        try:
            certificate = x509.load_pem_x509_certificates(material.certificate)[0]
            if material.client_ca is not None:
                x509.load_pem_x509_certificates(material.client_ca)
        except ValueError:
            raise TlsError(f"{self.certificate} or {self.client_ca} holds no PEM certificate") from None
        try:
            key = serialization.load_pem_private_key(material.private_key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise TlsError(f"{self.private_key} holds no unencrypted PEM private key") from None
        spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
            raise TlsError(f"{self.private_key} is not the key of the certificate in {self.certificate}")


@dataclass(frozen=True, slots=True, repr=False)
class TlsMaterial:
    """The contents of the files."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes | None


class TlsWatch:
    """Reads the files again when they change while a server runs.

    Files that cannot be used, such as a certificate whose key is not there yet, are logged and ignored; the last good
    contents stay in use.

    Attributes:
        current: The last good contents.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self.current = files.read()

    def changed(self) -> TlsMaterial | None:
        """The contents if they are new since the last call, else None. Any thread may call it."""
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return None
            try:
                material = self._files.read()
            except TlsError as error:
                log.warning("tls files not usable, keeping the last good ones", reason=str(error))
                self._seen = stamp
                return None
            self._seen = stamp
            if material == self.current:
                return None
            self.current = material
            log.info("tls files reloaded")
            return material

    def _stamp(self) -> tuple[object, ...]:
        return tuple(
            _stamp_of(path)
            for path in (self._files.certificate, self._files.private_key, self._files.client_ca)
            if path is not None
        )


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
