"""The certificate authorities of the system."""

import os
import re
import ssl
from pathlib import Path
from typing import Final

# What OpenSSL calls the files of a folder in which it looks authorities up: a hash of the subject, and a number.
_HASHED: Final = "[0-9a-f]" * 8 + ".[0-9]*"

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def system_authorities() -> bytes:
    """Reads the system's authorities from where OpenSSL looks for them, once for all connections.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them.

    Returns:
        PEM certificates, each once; empty if there are none, or none that can be read.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        paths = ssl.get_default_verify_paths()
        # They hold the same, where there are both.
        file, folder = (paths.cafile, None) if paths.cafile else (None, paths.capath)
    files = [Path(file)] if file else []
    for each in (folder or "").split(os.pathsep):
        files += sorted(Path(each).glob(_HASHED)) if each else []
    # Each is parsed again for every connection that is kept, and where file and folder are named, both have most of them.
    return b"\n".join(dict.fromkeys(found for each in files for found in _CERTIFICATE.findall(_read(each))))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
