"""What all tests share."""

from tests.databases import database_url, postgresql_server

__all__ = ["database_url", "postgresql_server"]
