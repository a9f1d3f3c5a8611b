"""The fixtures that tests of several folders use."""

from tests.support.certificates import authority, mutual_tls_files, tls_files
from tests.support.databases import database_url, postgresql_server
from tests.support.service import service

__all__ = ["authority", "database_url", "mutual_tls_files", "postgresql_server", "service", "tls_files"]
