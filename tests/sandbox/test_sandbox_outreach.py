from typing import Any

import httpx
import pytest

from sandbox import seed
from sandbox.server import RunningSandbox
from tests.support.plain_client import plain_client


def update(kind: str, number: Any, **attributes: Any) -> dict[str, Any]:
    return {"data": {"type": kind, "id": number, "attributes": attributes}}


def pointers(answer: httpx.Response) -> list[str]:
    return [error["source"]["pointer"] for error in answer.json()["errors"]]


async def test_one_read_finds_variants_templates_step_and_sequence(
    outreach: httpx.AsyncClient,
) -> None:
    query = {
        "filter[sequenceStep][id]": str(seed.OUTREACH_STEP_AB_TEST),
        "include": "template,sequenceStep.sequence",
        "fields[template]": "name,subject",
        "fields[sequence]": "enabled,owner",
        "count": "false",
    }
    answer = (await outreach.get("/sequenceTemplates", params=query)).json()
    assert [r["attributes"]["enabled"] for r in answer["data"]] == [False, True, True]
    included = {(r["type"], r["id"]): r for r in answer["included"]}
    assert len(included) == len(answer["included"]) == 5
    assert included["template", 20]["attributes"] == {"name": "Variant A", "subject": "Variant A"}
    assert included["template", 20]["relationships"] == {}
    assert included["sequence", 7]["relationships"] == {
        "owner": {"data": {"type": "user", "id": seed.OUTREACH_USER}}
    }
    step = included["sequenceStep", 103]["relationships"]
    assert step["sequence"] == {"data": {"type": "sequence", "id": 7}}
    assert [end["id"] for end in step["sequenceTemplates"]["data"]] == [303, 304, 305]
    assert "meta" not in answer


async def test_templates_may_be_null_or_gone(outreach: httpx.AsyncClient) -> None:
    query = {"filter[id]": "311,312", "include": "template"}
    answer = (await outreach.get("/sequenceTemplates", params=query)).json()
    linked = [r["relationships"]["template"]["data"] for r in answer["data"]]
    assert linked == [None, {"type": "template", "id": seed.OUTREACH_TEMPLATE_GONE}]
    assert answer["included"] == []


async def test_collections_page_at_fifty(outreach: httpx.AsyncClient) -> None:
    query = {"filter[template][id]": str(seed.OUTREACH_TEMPLATE_POPULAR)}
    first = (await outreach.get("/sequenceTemplates", params=query)).json()
    assert len(first["data"]) == 50
    assert first["meta"]["count"] == seed.OUTREACH_LONG_STEPS
    second = (await outreach.get(first["links"]["next"])).json()
    assert len(second["data"]) == 5
    assert "links" not in second


async def test_filter_without_a_match_is_empty(outreach: httpx.AsyncClient) -> None:
    answer = await outreach.get("/sequenceTemplates", params={"filter[template][id]": "4711"})
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/sequenceTemplates", {"filter[sequence][id]": "7"}),
        ("/sequenceTemplates", {"filter[sequenceStep][id]": "abc"}),
        ("/sequenceTemplates", {"filter[sequenceStep][name]": "1"}),
        ("/sequenceTemplates", {"filter[nothing][id]": "1"}),
        ("/sequenceTemplates", {"filter[enabled]": "true"}),
        ("/sequenceTemplates", {"include": "sequence"}),
        ("/sequenceTemplates", {"include": "sequenceStep.nothing"}),
        ("/sequenceTemplates", {"fields[template]": "nothing"}),
        ("/sequenceTemplates", {"fields[templates]": "name"}),
        ("/sequenceTemplates", {"page[size]": "0"}),
        ("/sequenceTemplates", {"count": "no"}),
        ("/sequenceTemplates", {"nothing": "1"}),
        ("/templates/18", {"count": "false"}),
        ("/templates/18", {"filter[id]": "18"}),
    ],
)
async def test_unknown_parameters_are_refused(
    outreach: httpx.AsyncClient, path: str, query: dict[str, str]
) -> None:
    answer = await outreach.get(path, params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["source"]["parameter"] in query


@pytest.mark.parametrize("kind", [None, "application/json", "application/vnd.api+json; a=b"])
async def test_every_request_needs_the_media_type(
    sandbox: RunningSandbox, kind: str | None
) -> None:
    headers = {"Authorization": f"Bearer {seed.OUTREACH_ACCESS_TOKEN}"}
    headers |= {"Content-Type": kind} if kind else {}
    async with plain_client() as client:
        answer = await client.get(f"{sandbox.outreach_url}/api/v2/templates/18", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["id"] == "unsupportedMediaType"


async def test_update_changes_what_is_sent_and_cleans_it(outreach: httpx.AsyncClient) -> None:
    body = update("template", 18, bodyHtml="<p>hi</p><script>1</script>")
    answer = await outreach.patch("/templates/18", json=body)
    attributes = answer.json()["data"]["attributes"]
    assert attributes["bodyHtml"] == "<p>hi</p>"
    assert attributes["bodyText"] == "hi"
    assert attributes["subject"] == "Quick question"
    assert answer.headers["Content-Type"] == "application/vnd.api+json"


@pytest.mark.parametrize(
    ("habit", "status", "document"),
    [("no_content", 204, None), ("meta_only", 200, {"meta": {}})],
)
async def test_updates_may_be_answered_without_the_record(
    outreach: httpx.AsyncClient,
    control: httpx.AsyncClient,
    habit: str,
    status: int,
    document: object,
) -> None:
    await control.patch(f"/accounts/{seed.OUTREACH_ACCOUNT}", json={"habits": [habit]})
    body = {
        "data": {
            "type": "template",
            "id": seed.OUTREACH_TEMPLATE_PLAIN,
            "attributes": {"subject": "new"},
        }
    }
    answer = await outreach.patch(f"/templates/{seed.OUTREACH_TEMPLATE_PLAIN}", json=body)
    assert answer.status_code == status
    assert (answer.json() if answer.content else None) == document
    stored = await control.get(f"/outreach/templates/{seed.OUTREACH_TEMPLATE_PLAIN}")
    assert stored.json()["attributes"]["subject"] == "new"


async def test_writes_may_be_dropped(
    outreach: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    await control.patch(f"/accounts/{seed.OUTREACH_ACCOUNT}", json={"habits": ["drops_writes"]})
    body = {
        "data": {
            "type": "template",
            "id": seed.OUTREACH_TEMPLATE_PLAIN,
            "attributes": {"subject": "new"},
        }
    }
    answer = await outreach.patch(f"/templates/{seed.OUTREACH_TEMPLATE_PLAIN}", json=body)
    assert answer.status_code == 200
    assert answer.json()["data"]["attributes"]["subject"] != "new"


async def test_a_habit_has_to_be_one_of_the_provider(control: httpx.AsyncClient) -> None:
    answer = await control.patch(
        f"/accounts/{seed.OUTREACH_ACCOUNT}", json={"habits": ["wraps_bodies"]}
    )
    assert (answer.status_code, "no_content" in answer.text) == (400, True)


async def test_several_errors_come_at_once(outreach: httpx.AsyncClient) -> None:
    body = update("template", 18, name=" ", bodyText="x", nothing=1, subject=3, tags="a")
    answer = await outreach.patch("/templates/18", json=body)
    assert answer.status_code == 422
    assert pointers(answer) == [
        f"/data/attributes/{name}" for name in ("name", "bodyText", "nothing", "subject", "tags")
    ]
    assert answer.json()["errors"][0]["detail"] == "Name can't be blank."
    assert answer.json()["errors"][0]["id"] == "validationError"


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"taskNote": "x" * 65_535}, 200),
        ({"taskNote": "x" * 65_536}, 422),
        ({"interval": 60}, 200),
        ({"interval": 60.0}, 422),
        ({"interval": -1}, 422),
        ({"date": "2026-02-30"}, 422),
        ({"stepType": "fax"}, 422),
        ({"displayName": "x"}, 422),
    ],
)
async def test_step_attributes_are_judged(
    outreach: httpx.AsyncClient, attributes: dict[str, Any], status: int
) -> None:
    body = update("sequenceStep", 101, **attributes)
    assert (await outreach.patch("/sequenceSteps/101", json=body)).status_code == status


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (update("template", "18"), ["/data/id"]),
        (update("template", 19), ["/data/id"]),
        (update("templates", 18), ["/data/type"]),
        ({"data": {"attributes": {}}}, ["/data/type", "/data/id"]),
    ],
)
async def test_type_and_id_must_match_the_url(
    outreach: httpx.AsyncClient, body: dict[str, Any], wrong: list[str]
) -> None:
    answer = await outreach.patch("/templates/18", json=body)
    assert (answer.status_code, pointers(answer)) == (422, wrong)


async def test_include_is_not_supported_on_updates(outreach: httpx.AsyncClient) -> None:
    body = update("template", 18, subject="x")
    answer = await outreach.patch("/templates/18", json=body, params={"include": "owner"})
    assert answer.status_code == 400


async def test_missing_resource_in_outreachs_words(outreach: httpx.AsyncClient) -> None:
    answer = await outreach.get("/templates/1")
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["id"] == "resourceNotFound"
    assert answer.json()["errors"][0]["detail"] == "Could not find 'template' with ID '1'."


@pytest.mark.parametrize("token", ["nothing", seed.OUTREACH_EXPIRED_TOKEN])
async def test_unknown_and_expired_tokens(outreach: httpx.AsyncClient, token: str) -> None:
    answer = await outreach.get("/templates/18", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.json()["errors"]
    assert "X-RateLimit-Limit" in answer.headers


async def test_write_and_read_are_scopes_of_their_own(
    outreach: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    readonly = {"Authorization": f"Bearer {seed.OUTREACH_READONLY_TOKEN}"}
    body = update("template", 18, subject="x")
    refused = await outreach.patch("/templates/18", json=body, headers=readonly)
    assert refused.status_code == 403
    assert refused.json()["errors"][0]["id"] == "unauthorizedOauthScope"
    account = f"/accounts/{seed.OUTREACH_ACCOUNT}"
    await control.patch(account, json={"scopes": ["templates.write", "sequenceTemplates.all"]})
    assert (await outreach.get("/templates/18")).status_code == 403
    assert (await outreach.patch("/templates/18", json=body)).status_code == 200
    assert (await outreach.get("/sequenceTemplates/301")).status_code == 200
    including = await outreach.get("/sequenceTemplates/301", params={"include": "template"})
    assert including.status_code == 403


async def test_the_hour_runs_out(outreach: httpx.AsyncClient, control: httpx.AsyncClient) -> None:
    hour = {"limit": 10_000, "remaining": 1, "reset_in_seconds": 100}
    limits = {"rate_limits": {"hour": hour, "reset_format": "seconds"}}
    await control.patch(f"/accounts/{seed.OUTREACH_ACCOUNT}", json=limits)
    allowed = await outreach.get("/templates/18")
    assert allowed.headers["X-RateLimit-Remaining"] == "0"
    refused = await outreach.get("/templates/18")
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["id"] == "rateLimitExceeded"
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"] == "100"


def grant(refresh_token: str) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": seed.OUTREACH_CLIENT_ID,
        "client_secret": seed.OUTREACH_CLIENT_SECRET,
        "redirect_uri": seed.REDIRECT_URI,
    }


@pytest.mark.parametrize("encoding", ["data", "json"])
async def test_tokens_rotate_and_are_minted_once_a_minute(
    sandbox: RunningSandbox, control: httpx.AsyncClient, encoding: str
) -> None:
    url = f"{sandbox.outreach_url}/oauth/token"

    async def mint(token: str) -> httpx.Response:
        body: dict[str, Any] = {encoding: grant(token)}
        return await control.post(url, **body)

    first = (await mint(seed.OUTREACH_REFRESH_TOKEN)).json()
    assert first["expires_in"] == 7200
    assert first["token_type"] == "Bearer"
    assert "templates.write" in first["scope"].split()
    assert (await mint(seed.OUTREACH_REFRESH_TOKEN)).json()["error"] == "invalid_grant"
    too_soon = await mint(first["refresh_token"])
    assert too_soon.status_code == 429
    assert too_soon.json()["errors"][0]["id"] == "rateLimitExceeded"
    assert too_soon.headers["Retry-After"]
    await control.patch(f"/accounts/{seed.OUTREACH_ACCOUNT}", json={"mint_interval_seconds": 0})
    assert (await mint(first["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"redirect_uri": "https://elsewhere.example.com"}, 400, "invalid_grant"),
        ({"refresh_token": seed.APOLLO_REFRESH_TOKEN}, 400, "invalid_grant"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"redirect_uri": ""}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_wrong_token_requests(
    sandbox: RunningSandbox,
    control: httpx.AsyncClient,
    changes: dict[str, str],
    status: int,
    error: str,
) -> None:
    form = grant(seed.OUTREACH_REFRESH_TOKEN) | changes
    answer = await control.post(f"{sandbox.outreach_url}/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_a_customer_can_disconnect_and_tokens_can_end(
    sandbox: RunningSandbox, outreach: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    order = {"token_expires_in": 0, "revoke_refresh_token": True}
    await control.patch(f"/accounts/{seed.OUTREACH_ACCOUNT}", json=order)
    assert (await outreach.get("/templates/18")).status_code == 401
    form = grant(seed.OUTREACH_REFRESH_TOKEN)
    answer = await control.post(f"{sandbox.outreach_url}/oauth/token", data=form)
    assert answer.json()["error"] == "invalid_grant"
