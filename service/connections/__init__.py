"""Who may call, and with whose credentials: applications, connections, their store and their encryption."""

from service.connections.applications import Application, Applications
from service.connections.connections import Connections, ConnectionSummary, TokenEndpoint
from service.connections.encryption import Keyring, KeyringError
from service.connections.store import SchemaMismatch, Store, StoreUnavailable

__all__ = [
    "Application",
    "Applications",
    "ConnectionSummary",
    "Connections",
    "Keyring",
    "KeyringError",
    "SchemaMismatch",
    "Store",
    "StoreUnavailable",
    "TokenEndpoint",
]
