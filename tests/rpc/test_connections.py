"""`ConnectionService` over a real server, database and sandbox: who may manage what, and what is never shown."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from engagement.v1 import connection_service_pb2 as pb
from engagement.v1.connection_service_pb2_grpc import ConnectionServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from structlog.testing import capture_logs

from sandbox import seed
from service import app
from service.connections import Applications, ConnectionAdministration, StoreUnavailable
from service.domain.credentials import Secret
from service.domain.errors import CallRefused
from service.domain.step import Provider
from service.history.change_repository import ChangeRepository
from service.rpc.connection_servicer import DECODERS
from tests.support.service import CUSTOMER, RunningService, outreach_grant, running_service
from tests.support.waiting import until

APOLLO_STEP = ("apollo", "5f0000000000000000000101", "5f0000000000000000000201")
OUTREACH_STEP = ("outreach", 7, 101)
KEY = seed.APOLLO_MASTER_KEY


class Manager:
    """An application whose key may manage connections."""

    def __init__(self, service: RunningService, key: Secret) -> None:
        self.service = service
        self.key = key
        self.stub: Any = ConnectionServiceStub(service.channel)

    async def __call__(self, method: str, request: Any = None, *, key: str | None = None, **fields: Any) -> Any:
        """Makes a call; `fields` are those of the request."""
        made = request if request is not None else getattr(pb, f"{method}Request")(**fields)
        metadata = (("x-api-key", self.key.reveal() if key is None else key), ("x-request-id", "req-1"))
        return await getattr(self.stub, method)(made, metadata=metadata, timeout=20)

    async def refused(self, method: str, request: Any = None, **fields: Any) -> "Refusal":
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self(method, request, **fields)
        return Refusal(error.value)


class Refusal:
    """A call that ended with a non-OK status."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        self.trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
        self.info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        for detail in status_pb2.Status.FromString(self.trailers["grpc-status-details-bin"]).details:
            detail.Unpack(self.info)
            detail.Unpack(bad)
        self.fields = [each.field for each in bad.field_violations]


@pytest.fixture
async def manage(tmp_path: Path) -> AsyncIterator[Manager]:
    async with running_service(tmp_path) as service:
        key = await service.applications.rotate_key("billing", None, may_manage=True)
        yield Manager(service, key)


def grant(access_token: str = seed.OUTREACH_ACCESS_TOKEN, **more: Any) -> pb.OAuthCredentials:
    known = outreach_grant(access_token)
    assert known.refresh_token is not None
    given: dict[str, Any] = {
        "access_token": access_token,
        "refresh_token": known.refresh_token.reveal(),
        "client_id": known.client_id,
        "client_secret": known.client_secret.reveal(),
        "redirect_uri": known.redirect_uri,
    }
    return pb.OAuthCredentials(**(given | more))


def named(customer: str = CUSTOMER, provider: str = "apollo") -> dict[str, str]:
    return {"customer_id": customer, "provider_name": provider}


# Setting.


async def test_a_customer_is_connected_and_updated(manage: Manager) -> None:
    made = await manage("SetConnection", **named("new one", " Apollo "), api_key=f"  {KEY}\n")
    assert made.changed
    assert made.connection.state == pb.CONNECTION_STATE_ACTIVE
    assert (made.connection.customer_id, made.connection.provider_name) == ("new one", "apollo")
    assert made.connection.credentials_kind == pb.CREDENTIALS_KIND_API_KEY
    assert not made.connection.HasField("expire_time")
    result = await manage.service.update(*APOLLO_STEP, customer="new one", subject="Hello")
    assert result.errors == []


async def test_what_was_set_last_is_not_set_again(manage: Manager) -> None:
    first = await manage("SetConnection", **named("other", "outreach"), oauth=grant())
    again = await manage("SetConnection", **named("other", "outreach"), oauth=grant())
    assert (first.changed, again.changed) == (True, False)
    assert again.connection == first.connection
    another = await manage("SetConnection", **named("other", "outreach"), oauth=grant("another token"))
    assert another.changed


async def test_a_repetition_after_a_renewal_leaves_the_renewed_grant(manage: Manager) -> None:
    await manage("SetConnection", **named("other", "outreach"), oauth=grant("expired"))
    assert (await manage.service.update(*OUTREACH_STEP, customer="other", subject="One")).errors == []
    renewed = await manage.service.stored_grant("other")
    again = await manage("SetConnection", **named("other", "outreach"), oauth=grant("expired"))
    assert not again.changed
    assert await manage.service.stored_grant("other") == renewed != outreach_grant("expired")
    assert (await manage.service.update(*OUTREACH_STEP, customer="other", subject="Two")).errors == []


async def test_a_connection_that_needs_a_new_grant_takes_the_same_one(manage: Manager) -> None:
    void = grant("expired", refresh_token="revoked")
    await manage("SetConnection", **named("other", "outreach"), oauth=void)
    for _ in range(3):
        await manage("CheckConnection", **named("other", "outreach"))
    found = (await manage("GetConnection", **named("other", "outreach"))).connection
    assert found.state == pb.CONNECTION_STATE_NEEDS_REAUTH
    assert found.state_reason
    listed = (await manage("ListConnections", customer_id="other")).connections
    assert list((await manage("ListConnections", state=pb.CONNECTION_STATE_NEEDS_REAUTH)).connections) == list(listed)
    assert [each.state for each in listed] == [pb.CONNECTION_STATE_NEEDS_REAUTH]
    again = await manage("SetConnection", **named("other", "outreach"), oauth=void)
    assert again.changed
    assert again.connection.state == pb.CONNECTION_STATE_ACTIVE


async def test_a_check_renews_what_was_given_up_and_works_again(manage: Manager) -> None:
    await manage("SetConnection", **named("other", "outreach"), oauth=grant("expired"))
    refusing = {"provider": "outreach", "path": "oauth/token", "status": 400, "body": {"error": "invalid_grant"}}
    manage.service.sandbox.order_fault(**refusing, times=2)
    refused = await manage("CheckConnection", **named("other", "outreach"))
    assert [error.code for error in refused.errors] == ["UNAUTHORIZED_ERROR"]
    assert refused.connection.state == pb.CONNECTION_STATE_NEEDS_REAUTH
    found = await manage("CheckConnection", **named("other", "outreach"))
    assert (list(found.errors), found.connection.state) == ([], pb.CONNECTION_STATE_ACTIVE)
    assert found.connection.state_reason == "token renewed"


async def test_validate_only_stores_nothing(manage: Manager) -> None:
    checked = await manage("SetConnection", **named("new"), api_key=KEY, validate_only=True)
    assert not checked.changed
    assert not checked.HasField("connection")
    assert (await manage.refused("GetConnection", **named("new"))).code is grpc.StatusCode.NOT_FOUND


async def test_the_end_of_a_token_is_kept(manage: Manager) -> None:
    end = Timestamp()
    end.FromDatetime(dt.datetime(2099, 1, 2, 3, 4, 5, 678000, dt.UTC))
    made = await manage("SetConnection", **named("new", "outreach"), oauth=grant(expire_time=end))
    assert made.connection.expire_time == end
    assert made.connection.credentials_kind == pb.CREDENTIALS_KIND_OAUTH


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"api_key": KEY} | named(provider="outreach"), ["api_key"]),
    ({"api_key": "two\nlines"} | named(), ["api_key"]),
    ({"api_key": "ключ"} | named(), ["api_key"]),
    ({"api_key": ""} | named(), ["api_key"]),
    (named(), ["credentials"]),
    ({"oauth": pb.OAuthCredentials()} | named(), ["credentials"]),
    (
        {"oauth": pb.OAuthCredentials(access_token="secret token", refresh_token="r")} | named(),
        ["oauth.refresh_token"],
    ),
    ({"oauth": grant("a\nb")} | named(provider="outreach"), ["oauth.access_token"]),
    (
        {"oauth": grant(expire_time=Timestamp(seconds=253_402_300_800))} | named(provider="outreach"),
        ["oauth.expire_time"],
    ),
    ({"oauth": grant(expire_time=Timestamp(seconds=-(2**62)))} | named(provider="outreach"), ["oauth.expire_time"]),
    ({"api_key": KEY} | named(customer=""), ["customer_id"]),
    ({"api_key": KEY} | named(customer="é"), ["customer_id"]),
    ({"api_key": KEY} | named(customer=" x"), ["customer_id"]),
    ({"api_key": KEY} | named(customer="x "), ["customer_id"]),
    ({"api_key": KEY} | named(customer="x" * 256), ["customer_id"]),
    ({"api_key": KEY} | named(provider=""), ["provider_name"]),
    ({"api_key": KEY} | named(provider="hubspot"), ["provider_name"]),
]


async def test_what_cannot_be_set(manage: Manager) -> None:
    for given, fields in REFUSED:
        refusal = await manage.refused("SetConnection", **given)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, fields)
        assert refusal.info.reason == "VALIDATION_ERROR"
        assert "secret token" not in refusal.message
        assert refusal.trailers["x-request-id"] == "req-1"
        assert refusal.trailers["x-error-code"] == "VALIDATION_ERROR"


async def test_a_provider_without_use_for_a_connection(manage: Manager) -> None:
    refusal = await manage.refused("SetConnection", **named(provider="salesloft"), api_key="key")
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED_ERROR")


async def test_a_field_that_is_not_known_is_refused(manage: Manager) -> None:
    request = pb.SetConnectionRequest.FromString(
        pb.SetConnectionRequest(customer_id=CUSTOMER, provider_name="apollo", oauth=grant()).SerializeToString()
        + b"\xf8\x07\x01"
    )
    refusal = await manage.refused("SetConnection", request)
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["127"])


UNKNOWN = b"\xf8\x07\x01"


def later_request(in_request: bytes, in_grant: bytes, in_time: bytes) -> bytes:
    """A request with fields that a later version may have."""
    request = pb.SetConnectionRequest.FromString(in_request)
    request.oauth.MergeFromString(in_grant)
    request.oauth.expire_time.MergeFromString(in_time)
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("method", "data", "fields"),
    [
        *((method, UNKNOWN, ["127"]) for method in DECODERS),
        ("SetConnection", later_request(UNKNOWN, b"", b""), ["127"]),
        ("SetConnection", later_request(b"", UNKNOWN, b""), ["oauth.127"]),
        ("SetConnection", later_request(b"", b"", UNKNOWN), ["oauth.expire_time.127"]),
        ("SetConnection", later_request(UNKNOWN, UNKNOWN, UNKNOWN), ["127", "oauth.127", "oauth.expire_time.127"]),
    ],
)
def test_a_field_that_is_not_known_is_named_with_its_path(method: str, data: bytes, fields: list[str]) -> None:
    with pytest.raises(CallRefused) as refusal:
        DECODERS[method](data)
    assert [each.field for each in refusal.value.violations] == fields


# Who may.


async def test_a_key_that_may_only_update_manages_nothing(manage: Manager) -> None:
    key = manage.service.key.reveal()
    for method in ("SetConnection", "GetConnection", "CheckConnection", "DeleteConnection", "DeleteStepChanges"):
        refusal = await manage.refused(method, **named(), key=key)
        assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "FORBIDDEN_ERROR")
    assert (await manage.refused("ListConnections", key=key)).code is grpc.StatusCode.PERMISSION_DENIED
    assert (await manage.service.update(*APOLLO_STEP, subject="Still updated")).errors == []


@pytest.mark.parametrize("key", ["", "seqstep_000000000000_" + "x" * 43])
async def test_an_unknown_caller_is_refused(manage: Manager, key: str) -> None:
    refusal = await manage.refused("ListConnections", key=key)
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED


async def test_another_application_sees_and_changes_nothing(manage: Manager) -> None:
    other = (await manage.service.applications.create("another", may_manage=True)).reveal()
    assert list((await manage("ListConnections", key=other)).connections) == []
    assert (await manage.refused("GetConnection", **named(), key=other)).code is grpc.StatusCode.NOT_FOUND
    assert (await manage.refused("CheckConnection", **named(), key=other)).code is grpc.StatusCode.NOT_FOUND
    assert not (await manage("DeleteConnection", **named(), key=other)).deleted
    await manage("SetConnection", **named(), api_key="another's", key=other)
    assert (await manage.service.update(*APOLLO_STEP, subject="Not theirs")).errors == []
    [first, second] = (await manage("ListConnections")).connections
    assert {first.provider_name, second.provider_name} == {"apollo", "outreach"}


async def test_rotating_a_key_keeps_what_it_may(manage: Manager) -> None:
    applications: Applications = manage.service.applications
    rotated = await applications.rotate_key("billing", 0)
    assert len((await manage("ListConnections", key=rotated.reveal())).connections) == 2
    lesser = await applications.rotate_key("billing", 0, may_manage=False)
    assert (await manage.refused("ListConnections", key=lesser.reveal())).code is grpc.StatusCode.PERMISSION_DENIED


# Reading.


async def test_no_secret_comes_back(manage: Manager) -> None:
    await manage("SetConnection", **named("new", "outreach"), oauth=grant())
    shown = str((await manage("ListConnections")).SerializeToString())
    for secret in (KEY, seed.OUTREACH_ACCESS_TOKEN, seed.OUTREACH_REFRESH_TOKEN, seed.OUTREACH_CLIENT_SECRET):
        assert secret not in shown


async def test_pages_follow_each_other(manage: Manager) -> None:
    customers = [f"customer-{number:02}" for number in range(7)]
    for customer in customers:
        await manage.service.connect(customer, Provider("apollo"), outreach_grant())
    seen: list[tuple[str, str]] = []
    token, pages = "", 0
    while True:
        page = await manage("ListConnections", page_size=2, page_token=token)
        assert len(page.connections) <= 2
        seen += [(each.customer_id, each.provider_name) for each in page.connections]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert seen == sorted([(CUSTOMER, "apollo"), (CUSTOMER, "outreach"), *((each, "apollo") for each in customers)])
    assert pages == 5


async def test_a_full_last_page_says_that_it_is_the_last(manage: Manager) -> None:
    page = await manage("ListConnections", page_size=2)
    assert (len(page.connections), page.next_page_token) == (2, "")


async def test_a_list_is_filtered(manage: Manager) -> None:
    await manage.service.connect("other", Provider("outreach"), outreach_grant())
    by_customer = await manage("ListConnections", customer_id="other")
    assert [each.customer_id for each in by_customer.connections] == ["other"]
    by_provider = await manage("ListConnections", provider_name="OUTREACH")
    assert [each.customer_id for each in by_provider.connections] == [CUSTOMER, "other"]
    by_state = await manage("ListConnections", state=pb.CONNECTION_STATE_NEEDS_REAUTH)
    assert list(by_state.connections) == []
    assert len((await manage("ListConnections", state=pb.CONNECTION_STATE_ACTIVE)).connections) == 3


async def test_a_token_is_of_one_list(manage: Manager) -> None:
    token = (await manage("ListConnections", page_size=1)).next_page_token
    another = (await manage.service.applications.create("another", may_manage=True)).reveal()
    for fields in (
        {"page_token": token, "provider_name": "apollo"},
        {"page_token": token, "customer_id": CUSTOMER},
        {"page_token": token, "state": pb.CONNECTION_STATE_ACTIVE},
        {"page_token": token, "key": another},
        {"page_token": token[:-3]},
        {"page_token": "no token!"},
        {"page_token": "e30"},
    ):
        refusal = await manage.refused("ListConnections", **fields)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


async def test_a_list_that_cannot_be_asked_for(manage: Manager) -> None:
    wrong: list[dict[str, Any]] = [{"page_size": -1}, {"state": 77}, {"customer_id": "é"}, {"provider_name": "x"}]
    for fields in wrong:
        refusal = await manage.refused("ListConnections", **fields)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, list(fields))


async def test_a_history_that_cannot_be_deleted(manage: Manager) -> None:
    for fields, wrong in (({"customer_id": ""}, "customer_id"), (named(provider="x"), "provider_name")):
        refusal = await manage.refused("DeleteStepChanges", **fields)
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [wrong])


# Checking and deleting.


async def test_a_connection_that_works(manage: Manager) -> None:
    checked = await manage("CheckConnection", **named())
    assert list(checked.errors) == []
    assert checked.connection.state == pb.CONNECTION_STATE_ACTIVE


async def test_a_connection_that_does_not_work_says_why(manage: Manager) -> None:
    await manage("SetConnection", **named("new"), api_key="wrong")
    [error] = (await manage("CheckConnection", **named("new"))).errors
    assert error.code == "UNAUTHORIZED_ERROR"
    assert error.meta.application_name == "billing"
    assert error.meta.request_id == "req-1"


async def test_a_deleted_connection_is_used_no_more(manage: Manager) -> None:
    assert (await manage.service.update(*APOLLO_STEP, subject="Before")).errors == []
    assert (await manage("DeleteConnection", **named())).deleted
    assert (await manage.service.update(*APOLLO_STEP, subject="After")).error.code == "NOT_FOUND_ERROR"
    assert not (await manage("DeleteConnection", **named())).deleted


async def test_the_history_of_a_customer_goes_with_its_log_line(tmp_path: Path) -> None:
    async with running_service(tmp_path, history_days=1) as service:
        manage = Manager(service, await service.applications.rotate_key("billing", None, may_manage=True))
        theirs = Manager(service, await service.applications.create("another", may_manage=True))
        for subject in ("One", "Two"):
            assert (await service.update(*APOLLO_STEP, subject=subject)).errors == []
        assert (await service.update(*OUTREACH_STEP, subject="One")).errors == []
        assert (await theirs("DeleteStepChanges", customer_id=CUSTOMER)).deleted_count == 0
        assert (await manage("DeleteStepChanges", customer_id="nobody")).deleted_count == 0
        with capture_logs() as lines:
            # Whose connection is gone may have a history.
            await manage("DeleteConnection", **named())
            gone = [
                (await manage("DeleteStepChanges", customer_id=CUSTOMER, provider_name=provider)).deleted_count
                for provider in (" Apollo ", "apollo", "", "")
            ]
        assert gone == [2, 0, 1, 0]
        known = {"event": "history deleted", "application": "billing", "customer": CUSTOMER, "request_id": "req-1"}
        assert [line for line in lines if line["event"] == "history deleted"] == [
            known | {"provider": "apollo", "changes": 2, "log_level": "info"},
            known | {"provider": "all", "changes": 1, "log_level": "info"},
        ]
        assert list((await service.list_changes("outreach")).response.step_changes) == []


async def test_a_history_that_is_kept_no_more_can_be_deleted(tmp_path: Path) -> None:
    async with running_service(tmp_path, history_days=1) as service:
        assert (await service.update(*APOLLO_STEP, subject="One")).errors == []
        key = await service.applications.rotate_key("billing", None, may_manage=True)
        async with (
            app.running(service.settings.model_copy(update={"history_days": 0})) as without,
            grpc.aio.insecure_channel(without.rpc.address) as channel,
        ):
            stub: Any = ConnectionServiceStub(channel)
            metadata = (("x-api-key", key.reveal()),)
            request = pb.DeleteStepChangesRequest(customer_id=CUSTOMER)
            response = await stub.DeleteStepChanges(request, metadata=metadata, timeout=20)
        assert response.deleted_count == 1


async def test_a_deletion_that_is_cut_off_says_what_is_gone(manage: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def some(*_: object) -> int:
        if begun.is_set():
            await asyncio.Event().wait()
        begun.set()
        return 200

    monkeypatch.setattr(ChangeRepository, "delete", some)
    request = pb.DeleteStepChangesRequest(customer_id=CUSTOMER)
    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as error:
        await manage.stub.DeleteStepChanges(request, metadata=(("x-api-key", manage.key.reveal()),), timeout=2)
    refusal = Refusal(error.value)
    assert (refusal.code, refusal.info.metadata["outcome"]) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "ERROR_OUTCOME_UNKNOWN",
    )
    assert [line["changes"] for line in lines if line["event"] == "history deleted"] == [200]


async def test_changes_are_in_the_log_and_secrets_are_not(manage: Manager) -> None:
    began = time.perf_counter()
    with capture_logs() as lines:
        await manage("SetConnection", **named("new"), api_key="a secret key")
        await manage("SetConnection", **named("new"), api_key="a secret key")
        await manage("CheckConnection", **named("new"))
        await manage("DeleteConnection", **named("new"))
    known = {"event": "connection changed", "application": "billing", "customer": "new", "provider": "apollo"}
    assert [line for line in lines if line["event"] == "connection changed"] == [
        known | {"action": action, "request_id": "req-1", "log_level": "info"} for action in ("set", "deleted")
    ]
    ends = [line for line in lines if line["event"] == "call"]
    assert {(line["customer"], line["provider"], line["application"]) for line in ends} == {
        ("new", "apollo", "billing")
    }
    assert not any("http_status" in line for line in ends)
    assert 0 < sum(line["ms"] for line in ends) < 1000 * (time.perf_counter() - began)
    calls = [(line["method"], line["provider_calls"]) for line in ends]
    assert calls == [("SetConnection", 0), ("SetConnection", 0), ("CheckConnection", 1), ("DeleteConnection", 0)]
    assert "a secret key" not in str(lines)


METHODS = (
    *("SetConnection", "GetConnection", "ListConnections", "CheckConnection", "DeleteConnection"),
    "DeleteStepChanges",
)


NO_REQUESTS = (
    b"\xff",
    b"\x0a\x05ab",
    b"\x0a\x01\xff",
    b"\x22\x02\x0a\x7f",
    b"\x22" * 3,
    b"\x0a" + b"\xff" * 9 + b"\x01",
    b"\x7a\x00",
)


async def test_bytes_that_are_no_request(manage: Manager) -> None:
    for method in METHODS:
        call: Any = manage.service.channel.unary_unary(f"/engagement.v1.ConnectionService/{method}")
        for data in NO_REQUESTS:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(data, metadata=(("x-api-key", manage.key.reveal()),), timeout=20)
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (method, data)


async def test_a_text_in_the_place_of_a_name_is_not_logged(manage: Manager) -> None:
    with capture_logs() as lines:
        await manage.refused("GetConnection", **named("Dear customer, é", "hunter2"))
    [line] = [line for line in lines if line["event"] == "call"]
    assert not {"customer", "provider"} & line.keys()
    assert "hunter2" not in str(lines)


async def test_a_page_is_not_longer_than_it_may_be(manage: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = await manage.service.connections.find(1, CUSTOMER, Provider("apollo"))

    async def page(_self: object, _application_id: int, limit: int, **_: object) -> list[object]:
        return [summary] * limit

    monkeypatch.setattr(ConnectionAdministration, "page", page)
    for asked, given in ((0, 100), (1, 1), (100, 100), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)):
        found = await manage("ListConnections", page_size=asked)
        assert len(found.connections) == given
        assert found.next_page_token


async def test_who_may_not_manage_is_not_read(manage: Manager) -> None:
    call: Any = manage.service.channel.unary_unary("/engagement.v1.ConnectionService/SetConnection")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(b"\xff", metadata=(("x-api-key", manage.service.key.reveal()),), timeout=20)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_call_without_a_request(manage: Manager) -> None:
    call: Any = manage.service.channel.stream_unary("/engagement.v1.ConnectionService/GetConnection")
    begun = call(metadata=(("x-api-key", manage.key.reveal()),), timeout=20)
    await begun.done_writing()
    assert await begun.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_database_that_is_away_is_said(manage: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("connection refused at 10.0.0.1")

    for name in ("set_once", "delete", "page", "find"):
        monkeypatch.setattr(ConnectionAdministration, name, away)
    monkeypatch.setattr(ChangeRepository, "delete", away)
    for method in METHODS:
        fields = {} if method == "ListConnections" else named()
        more = {"api_key": KEY} if method == "SetConnection" else {}
        refusal = await manage.refused(method, **fields, **more)
        assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE_ERROR")
        assert "10.0.0.1" not in refusal.message
        assert refusal.info.metadata["outcome"] == "ERROR_OUTCOME_UNKNOWN"


async def test_a_bug_names_the_call_and_nothing_else(manage: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret text")

    monkeypatch.setattr(ConnectionAdministration, "page", broken)
    refusal = await manage.refused("ListConnections")
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_SERVER_ERROR")
    assert "req-1" in refusal.message
    assert "a secret text" not in refusal.message
    assert refusal.info.metadata["outcome"] == "ERROR_OUTCOME_UNKNOWN"


async def test_what_outlasts_the_caller_is_not_said_to_have_succeeded(
    manage: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(ConnectionAdministration, "delete", hang)
    request = pb.DeleteConnectionRequest(customer_id=CUSTOMER, provider_name="apollo")
    with capture_logs() as lines:
        call = manage.stub.DeleteConnection(request, metadata=(("x-api-key", manage.key.reveal()),), timeout=20)
        waiting = asyncio.ensure_future(call.code())
        await asyncio.wait_for(begun.wait(), 10)
        call.cancel()
        await waiting
        await until(lambda: any(line["event"] == "call" for line in lines))
    [line] = [line for line in lines if line["event"] == "call"]
    assert (line["grpc_status"], line["outcome"]) == ("CANCELLED", "ERROR_OUTCOME_UNKNOWN")


async def test_managing_has_a_share_of_the_calls_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were a provider, so that neither keeps the other out."""
    async with running_service(tmp_path, max_concurrent_calls=4) as service:
        manage = Manager(service, await service.applications.rotate_key("billing", None, may_manage=True))
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def hang(*_: object, **__: object) -> list[object]:
            begun.set()
            await may_end.wait()
            return []

        monkeypatch.setattr(ConnectionAdministration, "page", hang)
        first = asyncio.ensure_future(manage("ListConnections"))
        await asyncio.wait_for(begun.wait(), 10)
        refusal = await manage.refused("ListConnections")
        assert (refusal.code, refusal.info.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "TOO_MANY_REQUESTS_ERROR",
        )
        assert "of this application to the store of connections" in refusal.message
        assert (await service.update(*APOLLO_STEP, subject="Still updated")).errors == []
        may_end.set()
        await first


async def test_a_deadline_that_comes_first_says_what_is_not_known(
    manage: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ConnectionAdministration, "delete", hang)
    request = pb.DeleteConnectionRequest(customer_id=CUSTOMER, provider_name="apollo")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await manage.stub.DeleteConnection(request, metadata=(("x-api-key", manage.key.reveal()),), timeout=2)
    refusal = Refusal(error.value)
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "GATEWAY_TIMEOUT_ERROR")
    assert refusal.info.metadata["outcome"] == "ERROR_OUTCOME_UNKNOWN"


# What is known of the grant, and of its use.


async def test_scopes_are_shown_as_they_were_set(manage: Manager) -> None:
    made = await manage(
        "SetConnection", **named("other", "outreach"), oauth=grant(scopes=["sequences.all", " templates.all  x "])
    )
    assert list(made.connection.scopes) == ["sequences.all", "templates.all", "x"]
    assert (await manage("GetConnection", **named("other", "outreach"))).connection.scopes == made.connection.scopes
    refused = await manage.refused("SetConnection", **named("other", "outreach"), oauth=grant(scopes=["x" * 2049]))
    assert refused.fields == ["oauth.scopes"]
    refused = await manage.refused("SetConnection", **named("other", "outreach"), oauth=grant(scopes=["é"]))
    assert refused.fields == ["oauth.scopes"]


async def test_a_renewal_keeps_the_scopes_or_brings_new_ones(manage: Manager) -> None:
    await manage("SetConnection", **named("other", "outreach"), oauth=grant("expired", scopes=["given"]))
    assert (await manage.service.update(*OUTREACH_STEP, customer="other", subject="One")).errors == []
    found = await manage("GetConnection", **named("other", "outreach"))
    assert found.connection.scopes
    assert "given" not in found.connection.scopes


async def test_what_providers_say_of_the_credentials_is_known_later(manage: Manager) -> None:
    await manage("SetConnection", **named(), api_key=KEY)
    before = await manage("GetConnection", **named())
    assert not before.connection.HasField("last_success_time")
    assert not before.connection.HasField("last_failure_time")
    assert (await manage.service.update(*APOLLO_STEP, subject="Hello")).errors == []
    used = await connection_when(manage, lambda shown: shown.HasField("last_success_time"))
    assert abs(used.last_success_time.ToDatetime(dt.UTC) - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=30)
    assert not used.HasField("last_failure_time")
    assert used.update_time == before.connection.update_time
    await manage("SetConnection", **named(), api_key="revoked")
    [error] = (await manage.service.update(*APOLLO_STEP, subject="Again")).errors
    refused = await connection_when(manage, lambda shown: shown.HasField("last_failure_time"))
    assert refused.last_failure_code == error.code == "UNAUTHORIZED_ERROR"
    assert not refused.HasField("last_success_time")


async def connection_when(manage: Manager, holds: Any) -> pb.Connection:
    """The connection once something holds for it."""
    async with asyncio.timeout(10):
        while True:
            found: pb.Connection = (await manage("GetConnection", **named())).connection
            if holds(found):
                return found
            await asyncio.sleep(0.01)
