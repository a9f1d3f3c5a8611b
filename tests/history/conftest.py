"""A store with its tables, and an application."""

from tests.connections.conftest import caller, keyring, queries, store

__all__ = ["caller", "keyring", "queries", "store"]
