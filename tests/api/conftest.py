"""Certificates for tests."""

from tests.support.certificates import authority, tls_files

__all__ = ["authority", "tls_files"]
