"""Who may call, and with whose credentials: applications, connections, their store and their encryption."""

from service.connections.administration import ClientSecretChange, ConnectionAdministration, SeveralClients
from service.connections.applications import Application, Applications
from service.connections.connections import Connections
from service.connections.database_failure import StoreMisconfigured, StoreUnavailable
from service.connections.encryption import Keyring, KeyringError
from service.connections.repository import RefreshErrorCount
from service.connections.store import SchemaMismatch, Store
from service.connections.token_refresh import RefreshObserver, RefreshResult, TokenEndpoint

__all__ = [
    "Application",
    "Applications",
    "ClientSecretChange",
    "ConnectionAdministration",
    "Connections",
    "Keyring",
    "KeyringError",
    "RefreshErrorCount",
    "RefreshObserver",
    "RefreshResult",
    "SchemaMismatch",
    "SeveralClients",
    "Store",
    "StoreMisconfigured",
    "StoreUnavailable",
    "TokenEndpoint",
]
