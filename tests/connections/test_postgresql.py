"""What the driver is asked for by a URL of PostgreSQL, and what a refusal of the server is; without a server."""

from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from service.connections.database_failure import ServerFull, StoreUnavailable
from service.connections.postgresql import connect_arguments


async def asked(monkeypatch: pytest.MonkeyPatch, parameters: str, seconds: float | None = 5.0) -> dict[str, Any]:
    """What the driver and SQLAlchemy's dialect are asked for by a URL with these parameters."""
    seen: dict[str, Any] = {}

    async def connect(dsn: str, **options: Any) -> None:
        seen.update(options, dsn=dsn)

    monkeypatch.setattr(asyncpg, "connect", connect)
    arguments = connect_arguments(make_url(f"postgresql+asyncpg://u:p@db/name?{parameters}"), seconds)
    await arguments.pop("async_creator_fn")()
    return seen | arguments


@pytest.mark.parametrize(
    ("parameter", "seconds"),
    [
        ("connect_timeout=1", 1.0),
        ("connect_timeout=0.5", 0.5),
        # No limit for libpq; here a call waits as long as without it.
        ("connect_timeout=0", 3.0),
        ("connect_timeout=-1", 3.0),
        ("", 3.0),
        ("connect_timeout=7&connect_timeout=8&connect_timeout=9", 9.0),
    ],
)
async def test_how_long_a_connection_may_take(monkeypatch: pytest.MonkeyPatch, parameter: str, seconds: float) -> None:
    found = await asked(monkeypatch, parameter)
    assert found["timeout"] == seconds
    assert found["dsn"] == "postgresql://u:p@db/name?application_name=seqstep"
    assert found["command_timeout"] == 5.0
    assert (await asked(monkeypatch, parameter, None))["command_timeout"] is None


@pytest.mark.parametrize(
    ("parameter", "is_pooled"),
    [
        ("pgbouncer=true", True),
        ("pgbouncer=1", True),
        ("pgbouncer=TRUE", True),
        ("pgbouncer=false", False),
        ("", False),
    ],
)
async def test_behind_a_pooler_no_statement_has_a_name(
    monkeypatch: pytest.MonkeyPatch, parameter: str, *, is_pooled: bool
) -> None:
    found = await asked(monkeypatch, parameter)
    caches = found["statement_cache_size"], found.get("prepared_statement_cache_size")
    assert (caches[0] == 0) is is_pooled
    assert caches[1] == (0 if is_pooled else None)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (asyncpg.TooManyConnectionsError("too many clients already"), ServerFull, "too many clients"),
        (asyncpg.ProtocolViolationError("no more connections allowed"), ServerFull, "no more connections"),
        (asyncpg.InvalidPasswordError("password authentication failed"), StoreUnavailable, "password authentication"),
        (asyncpg.ClientConfigurationError("bad sslmode"), StoreUnavailable, "bad sslmode"),
        (TimeoutError(), StoreUnavailable, "does not answer in time"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), StoreUnavailable, "starting up"),
        (asyncpg.InterfaceError("x"), StoreUnavailable, "InterfaceError"),
        (ValueError("x"), StoreUnavailable, "ValueError"),
    ],
)
async def test_only_a_server_without_a_place_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, said: str
) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncpg, "connect", connect)
    with pytest.raises(StoreUnavailable, match=said) as failure:
        await connect_arguments(make_url("postgresql+asyncpg://u@db/name"), 5.0)["async_creator_fn"]()
    assert type(failure.value) is kind
