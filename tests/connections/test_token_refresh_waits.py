"""How long is waited for a token endpoint and a lease, on both sides of each bound; the clock is the test's."""

import asyncio
import contextlib
import gc
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from service.connections import token_refresh
from service.connections.cache import Cache
from service.connections.connections import _margin
from service.connections.database_failure import StoreUnavailable
from service.connections.errors import RefreshDeferred
from service.connections.repository import Lease, StoredConnection
from service.domain.credentials import Connection, ConnectionState, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode
from service.domain.step import Provider
from service.domain.token_grant import RefreshFailed, TokenGrant
from tests.support.clock import Clock

GRANT = OAuthCredentials(Secret("a"), Secret("r"), None, "c", Secret("s"))


def stored(error: str | None, at: float) -> StoredConnection:
    connection = Connection(1, 1, "acme", Provider("outreach"), GRANT)
    return StoredConnection(connection, 1, ConnectionState.ACTIVE, "", error, at)


@pytest.mark.parametrize(
    ("error", "ago", "backoff"),
    [
        (None, 0, 0),
        ("invalid_client", 0, 60),
        ("invalid_client", 1, 59),
        ("invalid_client", 59, 1),
        ("invalid_client", 60, 0),
        ("invalid_client", 61, 0),
        # The clock was set back after that was written.
        ("invalid_client", -59, 60),
        ("invalid_client", -60, 0),
        ("invalid_client", -1000, 0),
    ],
)
def test_a_refusal_is_left_alone_for_a_minute(clock: Clock, error: str | None, ago: float, backoff: float) -> None:
    assert token_refresh._backoff(stored(error, clock.now - ago)) == backoff


@pytest.mark.parametrize(
    ("error", "ago", "deadline", "pause"),
    [
        ("invalid_grant", 0.25, 60, 0.75),
        ("invalid_grant", 5, 60, 0),
        ("invalid_grant", -100, 60, 1),
        ("invalid_grant", 0, 1, 0.5),
        ("invalid_client", 0, 60, None),
        (None, 0, 60, None),
    ],
)
async def test_a_refused_grant_is_asked_for_again_after_a_second(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, *, error: str, ago: float, deadline: float, pause: float | None
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    await token_refresh._pause_after_refusal(stored(error, clock.now - ago), Deadline(clock.now + deadline))
    assert clock.slept == ([] if pause is None else [pause])


async def test_a_renewal_that_can_wait_is_not_tried_again_at_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(fake, {}, fake, fake)
    connection = stored(None, 0)
    tried = 0

    async def refresh_once(*_: object) -> None:
        nonlocal tried
        tried += 1
        raise RefreshDeferred.by_deadline(connection.key)

    monkeypatch.setattr(coordinator, "_refresh_once", refresh_once)
    for now, times in ((0.0, 1), (4.9, 1), (5.0, 2), (9.9, 2)):
        clock.now = 1000.0 + now
        assert await coordinator.refresh_early(connection, Deadline.after(10)) is connection
        assert tried == times


class Leased:
    """Rows whose lease becomes free after so many attempts to take it."""

    def __init__(self, *leases: Lease) -> None:
        self._leases = list(leases)
        self.lengths: set[float] = set()

    async def take_lease(self, _stored: object, _owner: object, seconds: float) -> Lease:
        self.lengths.add(seconds)
        return self._leases.pop(0) if len(self._leases) > 1 else self._leases[0]

    async def find(self, *_: object) -> StoredConnection:
        return stored(None, 0)


@pytest.mark.parametrize(
    ("leases", "pauses"),
    [
        ([Lease.TAKEN], []),
        # Soon at first, since most renewals take little, and then less often.
        ([*[Lease.NOT_TAKEN] * 6, Lease.TAKEN], [0.02, 0.04, 0.08, 0.16, 0.25, 0.25]),
        # The one before may have minted, and gets the time to store it.
        ([Lease.TAKEN_OVER, Lease.TAKEN], [6]),
        ([Lease.NOT_TAKEN, Lease.TAKEN_OVER, Lease.NOT_TAKEN, Lease.TAKEN], [0.02, 6, 0.04]),
    ],
)
async def test_how_often_a_lease_is_asked_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, leases: list[Lease], pauses: list[float]
) -> None:
    rows: Any = Leased(*leases)
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(rows, {}, fake, fake)

    async def mint(connection: StoredConnection) -> StoredConnection:
        return connection

    monkeypatch.setattr(coordinator, "_mint_to_the_end", mint)
    assert await coordinator._refresh_under_lease(stored(None, 0)) == stored(None, 0)
    assert clock.slept == pytest.approx(pauses)
    assert rows.lengths == {24}


@pytest.mark.parametrize(("lease", "least", "most"), [(Lease.NOT_TAKEN, 60, 61), (Lease.TAKEN_OVER, 66, 66)])
async def test_a_lease_that_never_becomes_free_is_given_up(
    clock: Clock, lease: Lease, least: float, most: float
) -> None:
    rows: Any = Leased(lease)
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(rows, {}, fake, fake)
    with pytest.raises(RefreshDeferred):
        await coordinator._refresh_under_lease(stored(None, 0))
    # Two leases, and what taking each over costs.
    assert least <= sum(clock.slept) <= most


async def test_a_mint_and_its_storing_have_an_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        async def replace_credentials(self, *_: object) -> None:
            raise StoreUnavailable("away")

    class Endpoint:
        async def refresh(self, _grant: object, _token: object, deadline: Deadline) -> TokenGrant:
            assert deadline.remaining() == 20
            return TokenGrant(Secret("new"), None, 1000.0, None)

    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    away: Any = Away()
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(away, {Provider("outreach"): Endpoint()}, fake, lambda *_: None)
    with capture_logs() as logs, pytest.raises(StoreUnavailable):
        await coordinator._mint(stored(None, 0))
    assert [line["event"].partition(":")[0] for line in logs] == ["renewed token lost"]
    # This process has the only copy of the token, and tries for ten minutes to keep it.
    assert 600 < sum(clock.slept) < 601


async def test_a_refused_client_is_asked_again_after_a_minute(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(fake, {}, fake, fake)
    asked = []

    async def refresh_once(connection: StoredConnection, *_: object) -> StoredConnection:
        asked.append(round(clock.now - connection.refresh_error_at, 1))
        return structs.replace(connection, refresh_error=None)

    monkeypatch.setattr(coordinator, "_refresh_once", refresh_once)
    refused = stored("invalid_client", clock.now)
    for seconds in (59.5, 0.5):
        clock.now += seconds
        await coordinator.refresh_early(refused, Deadline.after(10))
        with contextlib.suppress(RefreshDeferred):
            await coordinator.refresh(refused, Deadline.after(10))
    assert asked == [60, 60]


@pytest.mark.parametrize("ends_by", [RuntimeError("x"), asyncio.CancelledError()])
async def test_asyncio_does_not_complain_of_what_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch, ends_by: BaseException
) -> None:
    """Neither of a renewal nor of a load that fails, or is stopped, after all callers have left."""
    may_end, complaints = asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def end(*_: object) -> Any:
        await may_end.wait()
        raise ends_by

    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(fake, {}, fake, fake)
    monkeypatch.setattr(coordinator, "_refresh", end)
    cache: Cache[str, int] = Cache(end, 5)
    callers = [
        asyncio.ensure_future(coordinator.refresh_now(stored(None, 0), Deadline.after(10))),
        asyncio.ensure_future(cache.get("key")),
    ]
    await asyncio.sleep(0)
    for each in callers:
        each.cancel()
    await asyncio.wait(callers)
    may_end.set()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    assert (complaints, coordinator._running, cache._loading) == ([], {}, {})


def test_only_so_many_cooldowns_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_refresh, "_MAX_COOLDOWNS", 2)
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(fake, {}, fake, fake)
    connections = [
        structs.replace(stored(None, 0), connection=structs.replace(stored(None, 0).connection, customer_id=name))
        for name in "abc"
    ]
    for number, connection in enumerate(connections, 1):
        coordinator._cool_down(connection, None)
        remembered = [each for each in connections if coordinator._cooldown(each) is not None]
        assert remembered == (connections[:number] if number <= 2 else [connection])


@pytest.mark.parametrize(("remaining", "wait"), [(30, 3), (6, 3), (5, 2.5), (1, 0.5)])
async def test_a_renewal_that_can_wait_takes_half_of_the_deadline_at_most(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, *, remaining: float, wait: float
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(fake, {}, fake, fake)
    waits = []

    async def refresh_once(connection: StoredConnection, deadline: Deadline) -> StoredConnection:
        waits.append(deadline.remaining())
        return connection

    monkeypatch.setattr(coordinator, "_refresh_once", refresh_once)
    await coordinator.refresh_early(stored(None, 0), Deadline.after(remaining))
    assert waits == [wait]


@pytest.mark.parametrize(
    ("demanded", "seconds"), [(None, 5), (0.0, 5), (4.0, 5), (6.0, 6), (299.0, 299), (301.0, 300), (1e9, 300)]
)
async def test_a_token_endpoint_is_left_alone_for_as_long_as_it_says(
    clock: Clock, demanded: float | None, seconds: float
) -> None:
    fake: Any = None
    coordinator = token_refresh.RefreshCoordinator(fake, {}, fake, fake)
    connection = stored(None, 0)
    failure = RefreshFailed("no", ErrorCode.SERVICE_UNAVAILABLE_ERROR, demanded)
    coordinator._cool_down(connection, failure)
    clock.now += seconds - 0.5
    if demanded:
        with pytest.raises(RefreshDeferred) as deferred:
            await coordinator.refresh(connection, Deadline.after(10))
        assert deferred.value.problems[0].retry_after == 0.5
    cooldown = coordinator._cooldown(connection)
    assert cooldown is not None
    assert (cooldown.failure is None) is not bool(demanded)
    # Other credentials are asked for at once.
    assert coordinator._cooldown(structs.replace(connection, revision=2)) is None
    clock.now += 0.5
    assert coordinator._cooldown(connection) is None


@pytest.mark.parametrize(
    ("issued_at", "expires_at", "margin"),
    [(None, None, 300), (None, 1000.0, 300), (1000.0, None, 300), (1000.0, 8200.0, 300), (1000.0, 1100.0, 50)],
)
def test_a_token_is_not_renewed_before_half_of_its_life(
    issued_at: float | None, expires_at: float | None, margin: float
) -> None:
    grant = OAuthCredentials(Secret("a"), Secret("r"), expires_at, "c", Secret("s"), "", issued_at)
    assert _margin(grant, 300) == margin
