"""What all tests share."""

from tests.support.databases import database_url, postgresql_server

__all__ = ["database_url", "postgresql_server"]
