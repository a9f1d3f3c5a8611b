"""Every fault of the database at every call that needs the history: what the caller's response says, and whether it is true."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import connection_service_pb2 as connection_pb
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1.connection_service_pb2_grpc import ConnectionServiceStub
from google.rpc import error_details_pb2, status_pb2
from pydantic import SecretStr

from sandbox import seed
from tests.faults.store_matrix import AWAY, CALLS, HANGS, MATRIX, SLOW, Expected, table
from tests.support.database_proxy import DatabaseProxy, database_proxy
from tests.support.service import CallResult, RunningService, running_service
from tests.support.waiting import until

STEP: tuple[str, Any, Any] = ("apollo", seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
READ, WRITE = {"method": "GET", "path": "emailer_campaigns"}, {"method": "PUT", "path": "emailer_templates"}
# The deadline of calls; those that write have longer than their answer waits for what became of the change to be noted.
SECONDS, WRITE_SECONDS = 1.5, 5.0
# Where in a call to a provider the fault strikes: at its read, before the write is recorded, or at its write.
STRIKES = {"record": READ, "settle": WRITE, "revert-record": READ, "revert-settle": WRITE}


class Caller:
    """Calls a service in front of a database that fails."""

    def __init__(self, service: RunningService, proxy: DatabaseProxy) -> None:
        self.service = service
        self.proxy = proxy
        self.key = ""
        self.number = 0

    async def updated(self, seconds: float = WRITE_SECONDS) -> CallResult:
        """An update with a subject of its own."""
        self.number += 1
        return await self.service.update(*STEP, subject=f"Subject {self.number}", seconds=seconds)

    async def deleted(self) -> tuple[str, Any]:
        """The code and the outcome of a deletion of somebody's history."""
        call = ConnectionServiceStub(self.service.channel).DeleteStepChanges(
            connection_pb.DeleteStepChangesRequest(customer_id="nobody"),
            metadata=(("x-api-key", self.key),),
            timeout=SECONDS,
        )
        if await call.code() is grpc.StatusCode.OK:
            return "", 0
        info = error_details_pb2.ErrorInfo()
        trailers: Any = dict(await call.trailing_metadata())
        for detail in status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details:
            detail.Unpack(info)
        return info.reason, envelope_pb2.ErrorOutcome.Value(info.metadata["outcome"])

    async def strike(self, fault: str) -> None:
        """Makes the fault."""
        if fault == AWAY:
            self.proxy.go_away()
        else:
            self.proxy.stop_answering()
        if fault == SLOW:
            asyncio.get_running_loop().call_later(0.5, self.proxy.come_back)

    async def during(self, place: dict[str, str], fault: str, work: Awaitable[CallResult]) -> CallResult:
        """Makes the fault while the provider has a request of a call."""
        given = {"provider": "apollo", **place, "delay_seconds": 0.3, "times": 1}
        order = self.service.sandbox.state.faults.order(given)
        calling = asyncio.ensure_future(work)
        await until(lambda: order.used)
        await self.strike(fault)
        result = await calling
        self.service.sandbox.state.faults.clear()
        return result

    def writes(self) -> int:
        return sum(call.startswith("PUT ") for call in self.service.provider_calls())

    async def states(self) -> dict[str, str]:
        """What the history says of each change, by its id."""
        changes = (await self.service.list_changes("apollo", page_size=200)).response.step_changes
        return {each.change_id: pb.StepChangeState.Name(each.state)[len("STEP_CHANGE_STATE_") :] for each in changes}


@pytest.mark.parametrize("fault", [AWAY, HANGS, SLOW])
async def test_a_row_of_the_matrix(fault: str, tmp_path: Path, postgresql_server: Any) -> None:
    async with database_proxy(postgresql_server) as proxy:
        more: dict[str, Any] = {"database_url": SecretStr(proxy.url), "cache_seconds": 60.0}
        async with running_service(tmp_path, history_days=30, **more) as service:
            caller = Caller(service, proxy)
            caller.key = (await service.applications.rotate_key("billing", None, may_manage=True)).reveal()
            for call, expected in MATRIX[fault].items():
                await check(caller, fault, call, expected)


async def check(caller: Caller, fault: str, call: str, expected: Expected) -> None:
    service, note = caller.service, CALLS[call]
    # Who calls, and with which credentials, is remembered from here on.
    made = await caller.updated()
    assert (made.errors, await caller.deleted()) == ([], ("", 0)), note
    change_id, before, writes = made.response.change_id, await caller.states(), caller.writes()

    seconds = WRITE_SECONDS if expected.written else SECONDS
    calls: dict[str, Callable[[], Awaitable[CallResult]]] = {
        "record": lambda: caller.updated(seconds),
        "settle": lambda: caller.updated(seconds),
        "list": lambda: service.list_changes("apollo", seconds=seconds),
        "get": lambda: service.get_change("apollo", change_id, seconds=seconds),
    }
    make = calls.get(call, lambda: service.revert("apollo", change_id, seconds=seconds))
    if call == "delete":
        await caller.strike(fault)
        code, outcome = await caller.deleted()
    else:
        if call in STRIKES:
            answer = await caller.during(STRIKES[call], fault, make())
        else:
            await caller.strike(fault)
            answer = await make()
        assert answer.code is grpc.StatusCode.OK, note
        code = answer.errors[0].code if answer.errors else ""
        outcome = answer.errors[0].meta.outcome if answer.errors else 0
    assert code == (expected.code or ""), note
    wanted = expected.outcome.value if expected.outcome is not None else "ERROR_OUTCOME_UNSPECIFIED"
    assert envelope_pb2.ErrorOutcome.Name(outcome) == wanted, note
    assert caller.writes() - writes == expected.written, note

    caller.proxy.come_back()
    new: dict[str, str] = {}

    async def settled() -> bool:
        nonlocal new
        new = {name: state for name, state in (await caller.states()).items() if name not in before}
        return list(new.values()) == ([expected.state] if expected.state else [])

    async with asyncio.timeout(10):
        while not await settled():  # noqa: ASYNC110  # it happens in the database
            await asyncio.sleep(0.05)
    # What was open before the fault has not changed, and what comes after it is as ever.
    assert before.items() <= (await caller.states()).items(), note
    assert (await caller.updated()).errors == [], note


def test_the_documented_table_is_the_one_that_is_tested() -> None:
    document = Path(__file__).parents[2] / "docs" / "faults.md"
    assert table() in document.read_text()
