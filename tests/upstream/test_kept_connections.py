"""Which connection a request gets: its owner's, one that is closed by now, a new one, or none that is kept."""

import time
from collections.abc import Callable

import pytest

from service.upstream.kept_connections import KeptConnection, KeptConnections

Advance = Callable[[float], None]


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    now = [1.0]  # less than what passes, so that a remainder is no difference
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def connections(limit: int = 10) -> KeptConnections[object]:
    return KeptConnections(object, limit)


def taken(kept: KeptConnections[object], owner: str) -> KeptConnection[object]:
    connection = kept.take(owner)
    assert connection is not None
    return connection


def test_an_owner_gets_its_latest_connection_again(advance: Advance) -> None:
    kept = connections()
    first, second = taken(kept, "acme"), taken(kept, "acme")
    assert first is not second
    assert not first.may_be_open
    kept.release(second)
    kept.release(first)
    advance(30)
    assert taken(kept, "acme") is first
    assert first.may_be_open
    assert taken(kept, "acme") is second


def test_nobody_gets_anothers_connection_while_it_may_be_open(advance: Advance) -> None:
    kept = connections()
    first = taken(kept, "acme")
    kept.release(first)
    advance(35)
    assert taken(kept, "other") is not first
    assert taken(kept, "acme") is first
    assert first.may_be_open


def test_a_connection_that_is_closed_by_now_is_anybodys(advance: Advance) -> None:
    kept = connections()
    first, second = taken(kept, "acme"), taken(kept, "acme")
    kept.release(first)
    kept.release(second)
    advance(36)
    assert taken(kept, "other") is first
    assert not first.may_be_open
    kept.release(first)
    assert taken(kept, "acme") is second
    assert not second.may_be_open
    assert taken(kept, "acme") not in (first, second)
    assert len(kept.engines) == 3


def test_kept_connections_are_limited(advance: Advance) -> None:
    kept = connections(limit=2)
    first = taken(kept, "acme")
    taken(kept, "acme")
    assert kept.take("acme") is None
    kept.release(first)
    assert kept.take("other") is None
    assert kept.take("acme") is first
