import asyncio
import json
import os
import signal
import ssl
import sys
from typing import Any

import httpx
import pytest
import trustme

from sandbox import seed
from sandbox.faults import InvalidFault
from sandbox.server import RunningSandbox, running_sandbox
from tests.support.plain_client import plain_client

PLAIN = f"/emailer_templates/{seed.APOLLO_TEMPLATE_PLAIN}"
ACTIVE = f"/emailer_campaigns/{seed.APOLLO_SEQUENCE_ACTIVE}"


async def subject(control: httpx.AsyncClient) -> str:
    return str((await control.get(f"/apollo{PLAIN}")).json()["subject"])


async def test_calls_are_logged_without_credentials(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    await apollo.put(PLAIN, json={"subject": "é"})
    await apollo.get(ACTIVE, params=[("a", "1"), ("api_key", "secret")])
    form = {"refresh_token": "secret", "client_id": "c"}
    await control.post(f"{sandbox.outreach_url}/oauth/token", data=form)
    calls = (await control.get("/calls")).json()
    assert calls == sandbox.calls()
    assert [c["seq"] for c in calls] == [1, 2, 3]
    assert [c["status"] for c in calls] == [200, 422, 400]
    assert calls[0]["body"] == {"subject": "é"}
    assert calls[0]["path"] == f"/api/v1{PLAIN}"
    assert calls[0]["account"] == seed.APOLLO_ACCOUNT
    assert calls[1]["query"] == [["a", "1"], ["api_key", "REDACTED"]]
    assert calls[2]["body"] == {"refresh_token": "REDACTED", "client_id": "c"}
    assert seed.APOLLO_MASTER_KEY not in str(calls)
    assert calls[0]["connection"] == calls[1]["connection"] != calls[2]["connection"]
    assert [c["seq"] for c in sandbox.calls("outreach")] == [3]
    await control.delete("/calls")
    assert sandbox.calls() == []


async def test_counters(apollo: httpx.AsyncClient, control: httpx.AsyncClient) -> None:
    for _ in range(3):
        await apollo.get(ACTIVE)
    assert (await control.get("/counters")).json() == [
        {
            "provider": "apollo",
            "account": seed.APOLLO_ACCOUNT,
            "method": "GET",
            "route": "/emailer_campaigns/{id}",
            "status": 200,
            "count": 3,
        }
    ]


async def test_new_accounts_have_the_same_data_and_their_own_credentials(
    sandbox: RunningSandbox, control: httpx.AsyncClient
) -> None:
    key = (await control.post("/accounts", json={"provider": "apollo", "auth": "api_key"})).json()
    order = {"provider": "outreach", "auth": "oauth", "token_lifetime_seconds": 30}
    oauth = (await control.post("/accounts", json=order)).json()
    answer = await control.get(sandbox.apollo_url + ACTIVE, headers={"x-api-key": key["api_key"]})
    assert answer.status_code == 200
    assert oauth.keys() >= {"redirect_uri", "expires_at", "access_token"}
    form = {"grant_type": "refresh_token"} | {
        name: oauth[name]
        for name in ("refresh_token", "client_id", "client_secret", "redirect_uri")
    }
    minted = (await control.post(f"{sandbox.outreach_url}/oauth/token", data=form)).json()
    assert minted["expires_in"] == 30


async def test_reset_brings_everything_back(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    await apollo.put(PLAIN, json={"subject": "changed"})
    sandbox.order_fault(provider="apollo", status=500, times=None)
    await control.patch(f"/accounts/{seed.APOLLO_ACCOUNT}", json={"rate_limits": {"minute": 0}})
    assert (await control.post("/reset")).status_code == 204
    assert await subject(control) == "Quick question"
    assert sandbox.calls() == []
    assert (await apollo.get(ACTIVE)).headers["x-minute-usage"] == "1"


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/accounts", {"provider": "outreach", "auth": "api_key"}),
        ("/accounts", {"provider": "salesloft"}),
        ("/faults", {"status": 500}),
        ("/faults", {"provider": "apollo"}),
        ("/faults", {"provider": "apollo", "status": 99}),
        ("/faults", {"provider": "apollo", "status": 500, "colour": "red"}),
        ("/faults", {"provider": "apollo", "status": 500, "path": "("}),
        ("/faults", {"provider": "apollo", "status": 500, "times": 0}),
        ("/faults", {"provider": "apollo", "cut": "everywhere"}),
        ("/faults", {"provider": "apollo", "body": 1, "json_depth": 1}),
        ("/faults", {"provider": "apollo", "body_base64": "!"}),
        ("/faults", {"provider": "apollo", "headers": {"a": "b\r\nc"}}),
        ("/faults", {"provider": "apollo", "hang": True, "status": 200}),
        ("/faults", {"provider": "apollo", "status": 500, "probability": 2}),
    ],
)
async def test_orders_that_make_no_sense(
    control: httpx.AsyncClient, path: str, order: dict[str, Any]
) -> None:
    answer = await control.post(path, json=order)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_before_prevents_and_after_does_not(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient, control: httpx.AsyncClient
) -> None:
    sandbox.order_fault(provider="apollo", method="put", path="emailer_templates", status=503)
    before = await apollo.put(PLAIN, json={"subject": "before"})
    assert (before.status_code, before.content) == (503, b"")
    assert await subject(control) == "Quick question"
    fault = sandbox.order_fault(
        provider="apollo", when="after", body={"error": "no"}, headers={"X-A": ["1", "2"]}
    )
    after = await apollo.put(PLAIN, json={"subject": "after"})
    assert (after.status_code, after.json()) == (200, {"error": "no"})
    assert after.headers.get_list("x-a") == ["1", "2"]
    assert await subject(control) == "after"
    assert sandbox.calls()[-1]["fault"] == fault
    listed = (await control.get("/faults")).json()
    assert [(f["used"], f["left"]) for f in listed] == [(1, 0), (1, 0)]


async def test_headers_alone_change_nothing_else(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient
) -> None:
    sandbox.order_fault(provider="apollo", headers={"content-type": "text/html", "x-a": "b"})
    answer = await apollo.put(PLAIN, json={"subject": "new"})
    assert answer.headers.get_list("content-type") == ["text/html"]
    assert answer.headers["x-a"] == "b"
    assert answer.json()["emailer_template"]["subject"] == "new"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("cut", "error"),
    [
        ("before_headers", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("mid_headers", httpx.RemoteProtocolError),
        ("mid_body", httpx.RemoteProtocolError),
    ],
)
async def test_cuts(
    sandbox: RunningSandbox,
    apollo: httpx.AsyncClient,
    control: httpx.AsyncClient,
    cut: str,
    error: type[Exception],
    when: str,
) -> None:
    sandbox.order_fault(provider="apollo", cut=cut, when=when)
    with pytest.raises(error):
        await apollo.put(PLAIN, json={"subject": "cut"})
    assert sandbox.calls()[0]["status"] is None
    assert await subject(control) == ("cut" if when == "after" else "Quick question")
    assert (await apollo.get(ACTIVE)).status_code == 200


async def test_hang_ends_with_the_client(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient
) -> None:
    sandbox.order_fault(provider="apollo", hang=True)
    with pytest.raises(httpx.ReadTimeout):
        await apollo.get(ACTIVE, timeout=0.05)
    assert (await apollo.get(ACTIVE)).status_code == 200


async def test_stopping_ends_what_hangs_drips_and_waits() -> None:
    async with running_sandbox() as sandbox, plain_client(timeout=60) as client:
        sandbox.order_fault(provider="apollo", hang=True)
        sandbox.order_fault(provider="apollo", delay_seconds=3600)
        sandbox.order_fault(provider="apollo", drip_seconds=3600, body="slow")
        waiting = [asyncio.create_task(client.get(sandbox.apollo_url + ACTIVE)) for _ in range(3)]
        while len((await client.get(f"{sandbox.url}/_sandbox/calls")).json()) < 3:
            pass
    assert len(await asyncio.gather(*waiting, return_exceptions=True)) == 3


async def test_odd_bodies(sandbox: RunningSandbox, apollo: httpx.AsyncClient) -> None:
    sandbox.order_fault(provider="apollo", body_repeat={"text": "xyz", "bytes": 1_000_000})
    large = await apollo.get(ACTIVE)
    assert (len(large.content), large.text[:4]) == (1_000_000, "xyzx")
    sandbox.order_fault(provider="apollo", json_depth=10_000)
    assert (await apollo.get(ACTIVE)).text.count("{") == 10_000
    sandbox.order_fault(provider="apollo", body_base64="/wA=")
    assert (await apollo.get(ACTIVE)).content == b"\xff\x00"
    sandbox.order_fault(provider="apollo", body="drip", drip_seconds=0.001)
    assert (await apollo.get(ACTIVE)).text == "drip"
    sandbox.order_fault(provider="apollo", body="raw", headers={"Content-Encoding": "gzip"})
    with pytest.raises(httpx.DecodingError):
        await apollo.get(ACTIVE)
    sandbox.order_fault(provider="apollo", body="short", headers={"Content-Length": "100"})
    with pytest.raises(httpx.RemoteProtocolError):
        await apollo.get(ACTIVE)


async def test_probability_is_repeatable(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient
) -> None:
    async def run() -> list[int]:
        sandbox.reset()
        sandbox.order_fault(provider="apollo", status=500, times=None, probability=0.5, seed=7)
        return [(await apollo.get(ACTIVE)).status_code for _ in range(20)]

    first = await run()
    assert set(first) == {200, 500}
    assert await run() == first


async def test_faults_for_one_account(sandbox: RunningSandbox, apollo: httpx.AsyncClient) -> None:
    sandbox.order_fault(
        provider="apollo", account=seed.APOLLO_SECOND_ACCOUNT, status=500, times=None
    )
    assert (await apollo.get(ACTIVE)).status_code == 200
    second = {"x-api-key": seed.APOLLO_SECOND_KEY}
    assert (await apollo.get(ACTIVE, headers=second)).status_code == 500


async def test_an_exception_inside_is_answered_and_printed(
    sandbox: RunningSandbox, apollo: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.state.accounts[seed.APOLLO_ACCOUNT].apollo.steps["broken"] = {}
    assert (await apollo.get(ACTIVE)).status_code == 500
    assert "KeyError" in capsys.readouterr().err
    assert (await apollo.put(PLAIN, json={})).status_code == 200


async def test_bodies_over_the_limit_are_refused(apollo: httpx.AsyncClient) -> None:
    fits = await apollo.put(PLAIN, json={"body_html": "x" * 19_000_000})
    assert fits.status_code == 200
    over = await apollo.put(PLAIN, json={"body_html": "x" * 21_000_000})
    assert over.status_code == 413


async def test_https() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    headers = {"x-api-key": seed.APOLLO_MASTER_KEY}
    async with (
        running_sandbox(ssl_context=server) as sandbox,
        httpx.AsyncClient(verify=trust, headers=headers) as client,
    ):
        assert sandbox.url.startswith("https://")
        assert (await client.get(sandbox.apollo_url + ACTIVE)).status_code == 200
        sandbox.order_fault(provider="apollo", cut="reset")
        with pytest.raises(httpx.TransportError):
            await client.get(sandbox.apollo_url + ACTIVE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_command_line_says_where_and_stops_cleanly(number: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        "--port",
        "0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("Sandbox listening on http://127.0.0.1:")
    async with plain_client() as client:
        assert (await client.get(f"{line.split()[-1]}/_sandbox/")).status_code == 200
        os.kill(process.pid, number)
        rest, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert seed.APOLLO_MASTER_KEY in rest.decode()


async def refresh_at_outreach(
    sandbox: RunningSandbox, refresh_token: str, secret: str
) -> httpx.Response:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "client_id": seed.OUTREACH_CLIENT_ID,
        "client_secret": secret,
        "redirect_uri": seed.REDIRECT_URI,
    }
    async with plain_client() as client:
        return await client.post(f"{sandbox.url}/outreach/oauth/token", data=form)


async def test_a_normal_answer_can_be_changed(sandbox: RunningSandbox) -> None:
    sandbox.order_fault(
        provider="outreach",
        path="oauth/token",
        members={"expires_in": "7200", "access_token": "{}\n", "scope": None},
        without=["token_type"],
        prefix="\ufeff",
        suffix="\n",
    )
    refresh, secret = seed.OUTREACH_REFRESH_TOKEN, seed.OUTREACH_CLIENT_SECRET
    answer = await refresh_at_outreach(sandbox, refresh, secret)
    assert answer.content.startswith(b"\xef\xbb\xbf{")
    assert answer.content.endswith(b"}\n")
    found = json.loads(answer.content.decode("utf-8-sig"))
    assert found["expires_in"] == "7200"
    assert found["scope"] is None
    assert "token_type" not in found
    # The operation was carried out: the tokens in the answer are the account's own from now on.
    account = sandbox.state.accounts[seed.OUTREACH_ACCOUNT]
    assert found["access_token"] == f"{account.access_token}\n"
    assert found["refresh_token"] == account.refresh_token != refresh
    orders: list[dict[str, Any]] = [
        {"members": []},
        {"without": "x"},
        {"members": {}, "status": 500},
        {"prefix": "x", "hang": True},
    ]
    for wrong in orders:
        with pytest.raises(InvalidFault):
            sandbox.order_fault(provider="outreach", **wrong)


async def test_a_client_secret_can_be_changed(
    sandbox: RunningSandbox, control: httpx.AsyncClient
) -> None:
    path = f"/accounts/{seed.OUTREACH_ACCOUNT}"
    assert (await control.patch(path, json={"client_secret": 7})).status_code == 400
    assert (await control.patch(path, json={"client_secret": "new"})).status_code == 200
    old, second = seed.OUTREACH_CLIENT_SECRET, seed.OUTREACH_SECOND_REFRESH_TOKEN
    refused = await refresh_at_outreach(sandbox, second, old)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert (await refresh_at_outreach(sandbox, second, "new")).status_code == 200
