"""Who may call, and with whose credentials: applications, connections, their store and their encryption."""

from service.connections.administration import ConnectionAdministration
from service.connections.applications import Application, Applications
from service.connections.connections import Connections
from service.connections.encryption import Keyring, KeyringError
from service.connections.repository import ConnectionSummary
from service.connections.store import SchemaMismatch, Store, StoreUnavailable
from service.connections.token_refresh import TokenEndpoint

__all__ = [
    "Application",
    "Applications",
    "ConnectionAdministration",
    "ConnectionSummary",
    "Connections",
    "Keyring",
    "KeyringError",
    "SchemaMismatch",
    "Store",
    "StoreUnavailable",
    "TokenEndpoint",
]
