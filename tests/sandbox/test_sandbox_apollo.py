import asyncio

import httpx
import pytest

from sandbox import seed
from sandbox.server import RunningSandbox
from tests.support.plain_client import plain_client

PLAIN = f"/emailer_templates/{seed.APOLLO_TEMPLATE_PLAIN}"
STEP = f"/emailer_steps/{seed.APOLLO_STEP_PLAIN}"
ACTIVE = f"/emailer_campaigns/{seed.APOLLO_SEQUENCE_ACTIVE}"


async def test_sequence_has_every_seeded_kind_of_step(apollo: httpx.AsyncClient) -> None:
    shown = (await apollo.get(ACTIVE)).json()
    touches = [
        t for t in shown["emailer_touches"] if t["emailer_step_id"] == seed.APOLLO_STEP_AB_TEST
    ]
    assert [t["status"] for t in touches] == ["to_be_reviewed", "approved", "approved"]
    templates = {t["id"]: t for t in shown["emailer_templates"]}
    assert templates[seed.APOLLO_TEMPLATE_REPLY]["subject"] is None
    assert templates[seed.APOLLO_TEMPLATE_ARCHIVED]["archived"]
    assert seed.APOLLO_TEMPLATE_MISSING not in templates
    shared = [
        t["emailer_step_id"]
        for t in shown["emailer_touches"]
        if t["emailer_template_id"] == seed.APOLLO_TEMPLATE_SHARED
    ]
    assert shared == [seed.APOLLO_STEP_SHARED_A, seed.APOLLO_STEP_SHARED_B]
    assert len(shown["emailer_steps"]) == shown["emailer_campaign"]["num_steps"]
    assert touches[0]["unique_opened"] == "loading"


async def test_arrays_may_be_null_or_missing(apollo: httpx.AsyncClient) -> None:
    null = (await apollo.get(f"/emailer_campaigns/{seed.APOLLO_SEQUENCE_NULL_ARRAYS}")).json()
    assert null["emailer_steps"] is None
    missing = (await apollo.get(f"/emailer_campaigns/{seed.APOLLO_SEQUENCE_NO_ARRAYS}")).json()
    assert list(missing) == ["emailer_campaign"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_template_write_cleans_derives_and_keeps_the_rest(
    apollo: httpx.AsyncClient, method: str
) -> None:
    body = {"body_html": "<p>a</p><SCRIPT src=x>\n1</script ><p>é</p>", "body_text": "ignored"}
    answer = await apollo.request(method, PLAIN, json=body)
    template = answer.json()["emailer_template"]
    assert answer.status_code == 200
    assert template["body_html"] == "<p>a</p><p>é</p>"
    assert template["body_text"] == "a\né"
    assert template["subject"] == "Quick question"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (PLAIN, {"emailer_template": {"subject": "x"}}, 200),
        (PLAIN, {"subject": 1}, 422),
        (PLAIN, {"body_html": ""}, 422),
        (PLAIN, {"body_html": "<script>only</script>"}, 422),
        (PLAIN, {"id": seed.APOLLO_TEMPLATE_PLAIN}, 422),
        (PLAIN, {"api_key": "k"}, 422),
        (f"/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}", {"body_html": ""}, 200),
        (f"/emailer_templates/{seed.APOLLO_TEMPLATE_MISSING}", {"subject": "x"}, 404),
        ("/emailer_templates/17", {"subject": "x"}, 422),
        (STEP, {"wait_time": 2, "wait_mode": "hour", "note": "n"}, 200),
        (STEP, {"wait_time": 2.0}, 422),
        (STEP, {"wait_time": "2"}, 422),
        (STEP, {"emailer_campaign_id": seed.APOLLO_SEQUENCE_INACTIVE}, 422),
        (f"/emailer_touches/{seed.APOLLO_TOUCH_PLAIN}", {"emailer_template": {}}, 500),
        ("/emailer_campaigns", {}, 404),
    ],
)
async def test_writes_are_judged(
    apollo: httpx.AsyncClient, path: str, body: object, status: int
) -> None:
    answer = await apollo.put(path, json=body)
    assert answer.status_code == status, answer.text
    assert "x-rate-limit-minute" in answer.headers or path == "/emailer_campaigns"


async def test_the_nested_form_does_nothing(apollo: httpx.AsyncClient) -> None:
    answer = await apollo.put(PLAIN, json={"emailer_template": {"subject": "nested"}})
    assert answer.status_code == 200
    assert answer.json()["emailer_template"]["subject"] != "nested"


async def test_a_touch_with_its_whole_template_is_approved_too(
    apollo: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    path = f"/emailer_touches/{seed.APOLLO_TOUCH_UNREVIEWED_FIRST}"
    template = {
        "id": seed.APOLLO_TEMPLATE_UNREVIEWED_FIRST,
        "subject": "x",
        "body_html": "<p>x</p>",
    }
    part = await apollo.put(path, json={"emailer_template": {"subject": "x"}})
    assert (part.status_code, part.text) == (500, "undefined method '[]' for nil")
    whole = await apollo.put(path, json={"emailer_template": template})
    assert whole.json()["emailer_touch"]["status"] == "approved"
    stored = await control.get(f"/apollo/emailer_templates/{template['id']}")
    assert stored.json()["subject"] == "x"


@pytest.mark.parametrize(
    ("habit", "stored"),
    [
        ("wraps_bodies", "<html><head></head><body><p>new</p></body></html>"),
        ("drops_writes", None),
    ],
)
async def test_habits_of_writes(
    apollo: httpx.AsyncClient, control: httpx.AsyncClient, habit: str, stored: str | None
) -> None:
    path = f"/apollo/emailer_templates/{seed.APOLLO_TEMPLATE_PLAIN}"
    before = (await control.get(path)).json()["body_html"]
    account = f"/accounts/{seed.APOLLO_ACCOUNT}"
    assert (await control.patch(account, json={"habits": [habit]})).json()["habits"] == [habit]
    answer = await apollo.put(PLAIN, json={"body_html": "<p>new</p>"})
    assert answer.json()["emailer_template"]["body_html"] == (stored or before)
    assert (await control.get(path)).json()["body_html"] == (stored or before)


async def test_a_sequence_may_need_a_key(
    sandbox: RunningSandbox, control: httpx.AsyncClient
) -> None:
    headers = {"Authorization": f"Bearer {seed.APOLLO_ACCESS_TOKEN}"}
    accounts = [each for each in (await control.get("/accounts")).json() if "access_token" in each]
    [account] = [each for each in accounts if each["access_token"] == seed.APOLLO_ACCESS_TOKEN]
    await control.patch(f"/accounts/{account['id']}", json={"habits": ["sequences_need_a_key"]})
    async with plain_client(base_url=sandbox.apollo_url, headers=headers) as client:
        refused = await client.get(ACTIVE)
    assert (refused.status_code, "master api_key" in refused.json()["error"]) == (403, True)


async def test_bad_wait_mode_in_apollos_words(apollo: httpx.AsyncClient) -> None:
    answer = await apollo.put(STEP, json={"wait_mode": "week"})
    assert (answer.status_code, answer.json()) == (422, {"error": "Wait mode must be valid"})


async def test_moving_a_step_renumbers_its_sequence(apollo: httpx.AsyncClient) -> None:
    await apollo.put(STEP, json={"position": 3})
    steps = (await apollo.get(ACTIVE)).json()["emailer_steps"]
    steps.sort(key=lambda step: step["position"])
    assert [step["position"] for step in steps] == list(range(1, 13))
    assert steps[2]["id"] == seed.APOLLO_STEP_PLAIN


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"[]", "application/json", 415),
        (b"{", "application/json", 400),
        (b'{"subject": "\xff"}', "application/json", 400),
        (b"{}", "application/json; charset=latin-1", 415),
        (b"{}", "application/json; charset=UTF-8", 200),
    ],
)
async def test_bodies_are_utf8_json_objects(
    apollo: httpx.AsyncClient, content: bytes, content_type: str, status: int
) -> None:
    answer = await apollo.put(PLAIN, content=content, headers={"Content-Type": content_type})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status", "text"),
    [
        ({}, 401, "Invalid access credentials."),
        ({"x-api-key": "wrong"}, 401, "Invalid API key"),
        ({"Authorization": "Bearer wrong"}, 401, "Invalid access credentials."),
        (
            {"Authorization": f"Bearer {seed.APOLLO_EXPIRED_TOKEN}"},
            401,
            '"error_code":"INVALID_ACCESS_TOKEN"',
        ),
        ({"Authorization": f"Bearer {seed.OUTREACH_ACCESS_TOKEN}"}, 401, "Invalid access"),
        ({"x-api-key": seed.APOLLO_SCOPED_KEY}, 403, '"error_code":"API_INACCESSIBLE"'),
        ({"x-api-key": seed.APOLLO_FREE_KEY}, 429, "only available to paying teams"),
        ({"Authorization": f"Bearer {seed.APOLLO_ACCESS_TOKEN}"}, 200, "emailer_campaign"),
    ],
)
async def test_credentials(
    sandbox: RunningSandbox, headers: dict[str, str], status: int, text: str
) -> None:
    async with plain_client() as client:
        answer = await client.get(sandbox.apollo_url + ACTIVE, headers=headers)
    assert answer.status_code == status
    assert text in answer.text
    if status in (401, 403):
        assert not [name for name in answer.headers if name.startswith("x-")]


async def test_a_key_in_the_query_or_the_body_is_not_accepted(sandbox: RunningSandbox) -> None:
    key = {"api_key": seed.APOLLO_MASTER_KEY}
    async with plain_client(base_url=sandbox.apollo_url) as client:
        assert (await client.get(ACTIVE, params=key)).status_code == 401
        assert (await client.put(PLAIN, json=key)).status_code == 401


async def test_unknown_query_parameters_are_refused(apollo: httpx.AsyncClient) -> None:
    assert (await apollo.get(ACTIVE, params={"a": "b"})).status_code == 422


async def test_windows_count_down_for_each_endpoint_and_then_refuse(
    apollo: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    window = {"limit": 400, "remaining": 1, "reset_in_seconds": 90}
    order = {"rate_limits": {"hourly": window, "minute": None}}
    await control.patch(f"/accounts/{seed.APOLLO_ACCOUNT}", json=order)
    allowed = await apollo.get(ACTIVE)
    assert allowed.headers["x-hourly-usage"] == "400"
    assert allowed.headers["x-hourly-requests-left"] == "0"
    assert allowed.headers["x-rate-limit-minute"] == ""
    assert "x-minute-usage" not in allowed.headers
    assert allowed.headers["x-24-hour-requests-left"] == "5999"
    refused = await apollo.get(ACTIVE)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 90
    assert "api/v1/emailer_campaigns/show is 400 times per hour" in refused.json()["message"]
    assert refused.json()["error_details"]["code"] == "USAGE.RATE_LIMIT.API_RATE_LIMIT_EXCEEDED"
    assert (await apollo.put(PLAIN, json={})).status_code == 200


async def test_writes_to_one_sequence_must_not_overlap(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    sandbox.order_fault(provider="apollo", method="PUT", delay_seconds=1)
    first = asyncio.create_task(apollo.put(PLAIN, json={"subject": "first"}))
    while not (await control.get("/calls")).json():
        pass
    second = await apollo.put(STEP, json={"wait_time": 9})
    other = await apollo.put(f"/emailer_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}", json={})
    assert (await first).status_code == 200
    assert second.status_code == 429
    assert second.json() == {"error": "We are already processing the request for your sequence"}
    assert second.headers["retry-after"] == "1"
    assert other.status_code == 200
    assert (await apollo.put(STEP, json={"wait_time": 9})).status_code == 200


async def test_documented_update_removes_the_steps_it_is_not_given(
    apollo: httpx.AsyncClient,
) -> None:
    path = f"/sequences/{seed.APOLLO_SEQUENCE_ACTIVE}"
    touch = {"id": seed.APOLLO_TOUCH_PLAIN, "emailer_template": {"subject": "new"}}
    step = {"id": seed.APOLLO_STEP_PLAIN, "emailer_touches": [touch]}
    added = {"type": "call", "wait_mode": "day", "wait_time": 1}
    answer = (await apollo.put(path, json={"emailer_steps": [added, step]})).json()
    assert [s["step_type"] for s in sorted(answer["steps"], key=lambda s: s["position"])] == [
        "call",
        "auto_email",
    ]
    assert [t["subject"] for t in answer["emailer_templates"]] == ["new"]
    gone = await apollo.put(f"/emailer_steps/{seed.APOLLO_STEP_CALL}", json={})
    assert gone.status_code == 404


async def test_refused_sequence_update_changes_nothing(apollo: httpx.AsyncClient) -> None:
    before = (await apollo.get(ACTIVE)).json()
    touch = {"id": seed.APOLLO_TOUCH_PLAIN, "emailer_template": {"body_html": " "}}
    steps = [{"id": seed.APOLLO_STEP_PLAIN, "emailer_touches": [touch]}]
    path = f"/sequences/{seed.APOLLO_SEQUENCE_ACTIVE}"
    assert (await apollo.put(path, json={"emailer_steps": steps})).status_code == 422
    assert (await apollo.get(ACTIVE)).json() == before


async def test_search_pages_and_matches_names(apollo: httpx.AsyncClient) -> None:
    query = {"q_name": "outreach", "per_page": "2", "page": "2"}
    answer = (await apollo.post("/emailer_campaigns/search", params=query)).json()
    assert answer["pagination"]["total_entries"] == 3
    assert [c["id"] for c in answer["emailer_campaigns"]] == [seed.APOLLO_SEQUENCE_ARCHIVED]


async def test_accounts_do_not_share_data(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient
) -> None:
    await apollo.put(PLAIN, json={"subject": "mine"})
    other = await apollo.get(ACTIVE, headers={"x-api-key": seed.APOLLO_SECOND_KEY})
    assert "mine" not in other.text


async def test_refresh_rotates_without_a_mint_limit(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient
) -> None:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": seed.APOLLO_REFRESH_TOKEN,
        "client_id": seed.APOLLO_CLIENT_ID,
        "client_secret": seed.APOLLO_CLIENT_SECRET,
    }
    first = (await apollo.post(sandbox.apollo_token_url, data=form)).json()
    again = await apollo.post(sandbox.apollo_token_url, data=form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    form["refresh_token"] = first["refresh_token"]
    second = (await apollo.post(sandbox.apollo_token_url, data=form)).json()
    bearer = {"Authorization": f"Bearer {second['access_token']}"}
    async with plain_client() as client:
        assert (await client.get(sandbox.apollo_url + ACTIVE, headers=bearer)).status_code == 200
