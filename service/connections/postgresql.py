"""Connects to PostgreSQL by a URL as libpq reads it, directly or through a pooler."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.engine import URL

from service.connections.database_failure import ServerFull, StoreMisconfigured, StoreUnavailable, reason

_CONNECT_SECONDS: Final = 3.0
_TOO_MANY_CONNECTIONS: Final = "53300"

# libpq's parameters that ask for what happens anyway, if they have one of these values.
_WITHOUT_EFFECT: Final[Mapping[str, frozenset[str]]] = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"auto", "utf8", "utf-8", "unicode"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "sslcompression": frozenset({"0"}),
    "sslsni": frozenset({"1"}),
}
# Others that libpq knows and the driver does not. What neither of them knows is a setting of the server.
_UNSUPPORTED: Final = frozenset(
    (
        *("channel_binding", "client_encoding", "gssdelegation", "gssencmode", "hostaddr", "keepalives"),
        *("keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts", "max_protocol_version"),
        *(
            "min_protocol_version",
            "oauth_client_id",
            "oauth_client_secret",
            "oauth_issuer",
            "oauth_scope",
            "replication",
        ),
        *("require_auth", "requirepeer", "requiressl", "scram_client_key", "scram_server_key", "servicefile"),
        *("sslcertmode", "sslcompression", "sslcrldir", "sslkeylogfile", "sslsni", "tcp_user_timeout"),
    )
)


def connect_arguments(url: URL, statement_seconds: float | None) -> dict[str, Any]:
    """What SQLAlchemy's dialect needs to connect.

    Args:
        url: The URL, with libpq's parameters, settings of the server, and `pgbouncer=true` for a pooler that gives each
            transaction another connection.
        statement_seconds: Longest wait for the answer to a statement; None for no limit.

    Raises:
        StoreMisconfigured: A parameter of the URL is not supported.
    """
    import asyncpg  # noqa: PLC0415  # an extra

    query = {name: values[-1] if isinstance(values, tuple) else values for name, values in url.query.items()}
    query = {name: value for name, value in query.items() if value.lower() not in _WITHOUT_EFFECT.get(name, ())}
    unsupported = sorted(_UNSUPPORTED.intersection(query))
    if unsupported:
        raise StoreMisconfigured(
            f"SEQSTEP_DATABASE_URL has parameters that are not supported: {', '.join(unsupported)}"
        )
    is_pooled = query.pop("pgbouncer", "false").lower() in ("true", "1")
    try:
        connect_seconds = float(query.pop("connect_timeout", "0"))
    except ValueError:
        raise StoreMisconfigured("SEQSTEP_DATABASE_URL: connect_timeout is a number of seconds") from None
    query = {"application_name": query.pop("fallback_application_name", "seqstep")} | query
    dsn = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)

    async def connect(*_: object, **__: object) -> Any:
        try:
            return await asyncpg.connect(
                dsn,
                timeout=connect_seconds if connect_seconds > 0 else _CONNECT_SECONDS,
                command_timeout=statement_seconds,
                statement_cache_size=0 if is_pooled else 100,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            text = str(error) if isinstance(error, asyncpg.ClientConfigurationError) else reason(error)
            # PgBouncer has no code of its own for it.
            is_full = getattr(error, "sqlstate", "") == _TOO_MANY_CONNECTIONS or "no more connections" in str(error)
            kind = ServerFull if is_full else StoreUnavailable
            raise kind(f"the database cannot be reached ({text})") from None

    if not is_pooled:
        return {"async_creator_fn": connect}
    # A named statement is known to one connection of the server, and the next transaction may have another one. Without its
    # own cache the driver names none.
    return {"async_creator_fn": connect, "prepared_statement_cache_size": 0}
