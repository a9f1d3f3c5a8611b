"""Who may call: keys, their rotation, certificates."""

import time
from collections.abc import Callable

import pytest

from service.connections import Applications, Store
from service.connections.applications import ApplicationError
from service.domain.errors import CallRefused, ErrorCode


@pytest.fixture
def applications(store: Store) -> Applications:
    return Applications(store, 5)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    offset = [0.0]
    real_time, real_monotonic = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: real_time() + offset[0])
    monkeypatch.setattr(time, "monotonic", lambda: real_monotonic() + offset[0])

    def forward(seconds: float) -> None:
        offset[0] += seconds

    return forward


async def refusal(applications: Applications, key: str | None) -> str:
    with pytest.raises(CallRefused) as refused:
        await applications.authenticate(key)
    assert refused.value.problem.code is ErrorCode.UNAUTHORIZED_ERROR
    return refused.value.problem.detail


async def test_a_key_belongs_to_its_application(applications: Applications) -> None:
    first, second = await applications.create("a"), await applications.create("b")
    assert (await applications.authenticate(first.reveal())).application_name == "a"
    assert (await applications.authenticate(second.reveal())).application_name == "b"


async def test_a_key_has_256_random_bits_and_is_not_stored(applications: Applications, store: Store) -> None:
    key = (await applications.create("a")).reveal()
    _, prefix, secret = key.split("_", 2)
    assert len(secret) == 43
    async with store.begin() as db:
        rows = (await db.exec_driver_sql("SELECT * FROM api_keys")).all()
    assert prefix in repr(rows)
    assert secret not in repr(rows)


async def test_wrong_keys_are_refused_alike_after_the_same_queries(
    applications: Applications, queries: list[str]
) -> None:
    key = (await applications.create("a")).reveal()
    gone = (await applications.create("b")).reveal()
    await applications.disable("b")
    _, prefix, secret = key.split("_", 2)
    other = "A" if secret[-2] != "A" else "B"
    wrong = [
        None,
        "",
        "gibberish",
        "é" * 50,
        f"seqstep_{'0' * 12}_{secret}",
        f"seqstep_{prefix}_{secret[:-2]}{other}{secret[-1]}",
        gone,
        key + "x",
    ]
    answers, counts = set(), set()
    for each in wrong:
        queries.clear()
        answers.add(await refusal(Applications(applications._store, 0), each))
        counts.add(len(queries))
    assert len(answers) == 1
    assert len(counts) == 1


async def test_a_warm_key_makes_no_query(applications: Applications, queries: list[str]) -> None:
    key = (await applications.create("a")).reveal()
    await applications.authenticate(key)
    queries.clear()
    for _ in range(100):
        await applications.authenticate(key)
    assert queries == []


async def test_two_keys_are_good_during_a_rotation(applications: Applications, later: Callable[[float], None]) -> None:
    old = (await applications.create("a")).reveal()
    new = (await applications.rotate_key("a", old_keys_expire_after=60)).reveal()
    fresh = Applications(applications._store, 0)
    assert await fresh.authenticate(old) == await fresh.authenticate(new)
    later(61)
    await fresh.authenticate(new)
    await refusal(fresh, old)


async def test_a_later_rotation_does_not_lengthen_an_old_keys_life(
    applications: Applications, later: Callable[[float], None]
) -> None:
    old = (await applications.create("a")).reveal()
    await applications.rotate_key("a", old_keys_expire_after=10)
    await applications.rotate_key("a", old_keys_expire_after=1000)
    later(11)
    await refusal(Applications(applications._store, 0), old)


async def test_a_revoked_key_stops_within_five_seconds(store: Store, later: Callable[[float], None]) -> None:
    running = Applications(store, 60)
    key = (await running.create("a")).reveal()
    await running.authenticate(key)
    await Applications(store, 0).disable("a")
    # It is not looked up for every call, though.
    later(3.9)
    await running.authenticate(key)
    later(1.11)
    await refusal(running, key)
    await Applications(store, 0).enable("a")
    later(5.01)
    await running.authenticate(key)


async def test_a_certificate_stands_for_an_application(applications: Applications) -> None:
    await applications.create("a")
    await applications.map_certificate("a", "billing.internal")
    assert (await applications.by_certificate(["x", "billing.internal"])).application_name == "a"
    with pytest.raises(CallRefused):
        await applications.by_certificate(["other.internal"])
    with pytest.raises(CallRefused):
        await applications.by_certificate([])


async def test_a_disabled_applications_certificate_is_refused(applications: Applications) -> None:
    await applications.create("a")
    await applications.map_certificate("a", "billing.internal")
    await applications.disable("a")
    with pytest.raises(CallRefused):
        await applications.by_certificate(["billing.internal"])


async def test_what_cannot_be_done_is_said(applications: Applications) -> None:
    await applications.create("a")
    await applications.create("b")
    await applications.map_certificate("a", "x")
    for action, message in (
        (applications.create("a"), "already"),
        (applications.create(" "), "a name has"),
        (applications.rotate_key("none", 0), "no application none"),
        (applications.disable("none"), "no application none"),
        (applications.map_certificate("b", "X."), "already"),
        (applications.map_certificate("b", "billing.internal\0.example"), "the name of a certificate has"),
        (applications.unmap_certificate("y"), "no application"),
    ):
        with pytest.raises(ApplicationError, match=message):
            await action


async def test_a_database_that_is_gone_is_not_a_wrong_key() -> None:
    store = Store.open("postgresql://u:p@127.0.0.1:1/none")
    with pytest.raises(CallRefused) as refused:
        await Applications(store, 5).authenticate("seqstep_x")
    assert refused.value.problem.code is ErrorCode.SERVICE_UNAVAILABLE_ERROR
    assert refused.value.problem.retry_after == 1
    await store.close()


async def test_the_list_shows_prefixes_only(applications: Applications) -> None:
    key = (await applications.create("a")).reveal()
    [listed] = await applications.list()
    assert [known.prefix for known in listed.keys] == [key.split("_")[1]]
    assert key not in repr(listed)


async def test_what_is_done_to_one_application_is_not_noticed_by_another(store: Store) -> None:
    applications = Applications(store, 0)
    first, other = await applications.create("a"), await applications.create("b")
    newer = await applications.rotate_key("a", 0)
    await refusal(applications, first.reveal())
    await applications.disable("a")
    await refusal(applications, newer.reveal())
    assert (await applications.authenticate(other.reveal())).application_name == "b"
    await applications.disable("b")
    await applications.enable("a")
    assert (await applications.authenticate(newer.reveal())).application_name == "a"
    await refusal(applications, other.reveal())


async def test_a_certificate_stands_for_its_application_alone(store: Store) -> None:
    applications = Applications(store, 0)
    for name in ("a", "b", "c"):
        await applications.create(name)
        await applications.map_certificate(name, f"{name}.internal")
    for name in ("a", "b", "c"):
        assert (await applications.by_certificate([f"{name}.internal"])).application_name == name
    await applications.disable("b")
    await applications.unmap_certificate("c.internal")
    assert (await applications.by_certificate(["b.internal", "c.internal", "a.internal"])).application_name == "a"
    for name in ("b", "c"):
        with pytest.raises(CallRefused):
            await applications.by_certificate([f"{name}.internal"])
