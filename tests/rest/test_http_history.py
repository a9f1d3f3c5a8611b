"""Looking back over HTTP: the paths, what they take, and the JSON that they give."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import seed
from service.history.change_id import ChangeIds
from tests.support.http_server import GOOD, RunningHttpServer
from tests.support.plain_client import plain_client
from tests.support.service import CUSTOMER, RunningService, running_service

STEP = f"/sequences/{seed.APOLLO_SEQUENCE_INACTIVE}/sequence_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}"


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path, history_days=30, http_address="127.0.0.1:0") as running:
        yield running


@pytest.fixture
async def client(kept: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    assert kept.app.rest is not None
    headers = {"x-customer-id": CUSTOMER, "x-provider-name": "apollo", "x-api-key": kept.key.reveal()}
    async with plain_client(base_url=f"http://{kept.app.rest.address}", headers=headers) as made:
        yield made


async def changed(client: httpx.AsyncClient, subject: str, request_id: str = "r-1") -> Any:
    content = json.dumps({"record": {"template": {"subject": subject}}})
    headers = {"content-type": "application/json", "x-request-id": request_id}
    return (await client.patch(STEP, content=content, headers=headers)).json()


async def test_a_change_is_listed_read_and_taken_back(kept: RunningService, client: httpx.AsyncClient) -> None:
    made = await changed(client, "New")
    old = made["changes"][0]["before"]
    page = (await client.get("/step_changes")).json()
    [change] = page["step_changes"]
    created_at = change.pop("created_at")
    assert page["next_page_token"] == ""
    assert change == {
        "id": made["change_id"],
        "customer_id": CUSTOMER,
        "provider_name": "apollo",
        "sequence_id": seed.APOLLO_SEQUENCE_INACTIVE,
        "sequence_step_id": seed.APOLLO_STEP_INACTIVE_PLAIN,
        "template_id": seed.APOLLO_TEMPLATE_INACTIVE_PLAIN,
        "request_id": "r-1",
        "application_name": "billing",
        "state": "STEP_CHANGE_STATE_APPLIED",
        "changes": [{"field": "template.subject", "before": old, "after": "New"}],
    }
    path = f"/engagement/v2/step_changes/{made['change_id']}"
    assert (await client.get(path)).json() == change | {"created_at": created_at}
    await changed(client, "Theirs")
    refused = await client.post(f"{path}/revert")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (412, "STEP_CHANGED_ERROR")
    assert refused.json()["conflicts"] == [{"field": "template.subject", "before": "Theirs", "after": old}]
    tried = (await client.post(f"{path}/revert?overwrite=true&validate_only=true")).json()
    assert ("change_id" in tried, tried["changes"][0]["after"]) == (False, old)
    forced = (await client.post(f"{path}/revert?overwrite=true&if_shared=IF_SHARED_REFUSE")).json()
    assert (forced["errors"], forced["changes"][0]["after"]) == ([], old)
    [last, *_] = (await client.get("/step_changes")).json()["step_changes"]
    assert (last["id"], last["reverts_change_id"]) == (forced["change_id"], made["change_id"])


async def test_a_list_is_filtered_and_paged(client: httpx.AsyncClient) -> None:
    for number in range(3):
        await changed(client, f"S{number}", f"r-{number}")
    first = (await client.get("/step_changes?page_size=2")).json()
    rest = (await client.get("/step_changes", params={"page_size": 2, "page_token": first["next_page_token"]})).json()
    subjects = [each["changes"][0]["after"] for each in first["step_changes"] + rest["step_changes"]]
    assert (subjects, rest["next_page_token"]) == (["S2", "S1", "S0"], "")
    at = first["step_changes"][-1]["created_at"]
    for query, count in (
        ({"request_id": "r-1"}, 1),
        ({"sequence_id": seed.APOLLO_SEQUENCE_INACTIVE, "sequence_step_id": seed.APOLLO_STEP_INACTIVE_PLAIN}, 3),
        ({"sequence_id": seed.APOLLO_SEQUENCE_ACTIVE}, 0),
        ({"start_time": at}, 2),
        ({"end_time": at}, 1),
        ({"start_time": "2026-01-01T00:00:00+02:00"}, 3),
    ):
        found = (await client.get("/step_changes", params=query)).json()
        assert len(found["step_changes"]) == count, query


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("page_size=-1", "page_size"),
        ("page_size=x", "page_size"),
        ("page_size=9999999999", "page_size"),
        ("start_time=yesterday", "start_time"),
        ("start_time=2026-01-01T00:00:00", "start_time"),
        ("end_time=2026-01-01T00:00:00Z&end_time=2026-01-02T00:00:00Z", "end_time"),
        ("page_token=x", "page_token"),
        ("sequence_step_id=7", "sequence_id"),
        ("newest=1", "newest"),
    ],
)
async def test_a_list_that_cannot_be_asked_for(server: RunningHttpServer, query: str, named: str) -> None:
    response = await server.client.get(f"/step_changes?{query}", headers=GOOD)
    [error] = response.json()["errors"]
    assert (response.status_code, error["code"]) == (400, "VALIDATION_ERROR")
    assert error["detail"].startswith(f"{named}: ")


async def test_without_a_history_every_path_says_so(server: RunningHttpServer) -> None:
    path = f"/step_changes/{ChangeIds().next()}"
    for response in (
        await server.client.get("/step_changes", headers=GOOD),
        await server.client.get(path, headers=GOOD),
        await server.client.post(f"{path}/revert", headers=GOOD),
    ):
        [error] = response.json()["errors"]
        assert (response.status_code, error["code"]) == (501, "NOT_IMPLEMENTED_ERROR")
    assert [each.method for each in server.records] == ["ListStepChanges", "GetStepChange", "RevertStepChange"]


async def test_an_id_that_is_none(server: RunningHttpServer) -> None:
    response = await server.client.get("/step_changes/7", headers=GOOD)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, "VALIDATION_ERROR")
    wrong = await server.client.get(f"/step_changes/{ChangeIds().next()}/revert", headers=GOOD)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
