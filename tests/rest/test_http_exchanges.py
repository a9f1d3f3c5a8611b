"""The REST page's own request and error, as exchanges over HTTP that were recorded once and stay the same.

A recording is a file of `exchanges/`: the faults of the provider, the request, the response. What no two calls have in
common is replaced, here and nowhere else: see `fixed`. `RECORD=1` writes the responses again.

The page's example nests `errors` one level deeper than its own schema, which is an artefact of the generator of the page;
here `errors` is as the schema has it. The code, title and detail of its error are those of this service's own table.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.plain_client import plain_client
from tests.support.service import running_service

FOLDER = Path(__file__).with_name("exchanges")
PAGE = json.loads((Path(__file__).parents[1] / "contract" / "seed_example.json").read_text())
[[PAGE_ERROR]] = PAGE["errors"]

KEY = "seqstep_the-key-of-the-application"

# Of the page's headers, the one that is about the provider's connection, which the sandbox keeps; and one that is left out
# with all whose names speak of credentials.
OF_THE_TRANSPORT = {"connection"}
LEFT_OUT = {"access-control-allow-credentials"}


def fixed(response: httpx.Response) -> dict[str, Any]:
    """An response with what changes from call to call replaced: the ids of errors (by the page's own), and the date."""
    body = response.json()
    for error in body["errors"]:
        assert error["id"]
        error["id"] = PAGE_ERROR["id"]
    headers = dict(response.headers)
    assert headers.pop("date")
    assert headers.pop("content-length") == str(len(response.content))
    return {"status": response.status_code, "headers": headers, "body": body}


def ordered(content: Any) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


async def replay(folder: Path, recording: Any) -> dict[str, Any]:
    request = recording["request"]
    async with running_service(folder, http_address="127.0.0.1:0") as service:
        for fault in recording["provider"]:
            service.sandbox.order_fault(**fault)
        headers = {**request["headers"], "x-api-key": service.key.reveal()}
        assert service.app.rest is not None
        async with plain_client(base_url=f"http://{service.app.rest.address}") as client:
            response = await client.request(
                request["method"], request["path"], headers=headers, content=json.dumps(request["body"])
            )
    return {**recording, "response": fixed(response)}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_an_exchange_is_as_it_was_recorded(tmp_path: Path, path: Path) -> None:
    recording = json.loads(path.read_bytes())
    assert recording["request"]["headers"]["x-api-key"] == KEY
    replayed = ordered(asyncio.run(replay(tmp_path, recording)))
    if os.environ.get("RECORD"):
        path.write_bytes(replayed)
    assert replayed.decode() == path.read_bytes().decode()


def members(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


@pytest.mark.parametrize("provider", ["apollo", "outreach"])
def test_the_error_of_the_page_has_its_members_and_its_cause(provider: str) -> None:
    recording = json.loads((FOLDER / f"page-error-{provider}.json").read_bytes())
    assert recording["response"]["status"] == int(PAGE_ERROR["status"])
    [error] = recording["response"]["body"]["errors"]
    assert members(PAGE_ERROR) == members(error)
    assert members(PAGE_ERROR["meta"]) | {"origin", "application_name"} <= members(error["meta"])
    assert members(PAGE_ERROR["meta"]["cause"]) == members(error["meta"]["cause"])
    for name, value in PAGE_ERROR.items():
        assert type(error[name]) is type(value)
    assert (error["id"], error["status"]) == (PAGE_ERROR["id"], PAGE_ERROR["status"])
    assert error["meta"]["origin"] == "remote-provider"
    cause, of_the_page = error["meta"]["cause"], PAGE_ERROR["meta"]["cause"]
    assert (cause["code"], cause["body"]) == (of_the_page["code"], of_the_page["body"])
    # Outreach has its reasons elsewhere, as JSON:API wants it; what it does not have is in the cause all the same.
    assert (of_the_page["body"]["message"] in error["detail"]) == (provider == "apollo")
    kept = {name: value for name, value in of_the_page["headers"].items() if name not in OF_THE_TRANSPORT | LEFT_OUT}
    assert kept.items() <= cause["headers"].items()
    assert not LEFT_OUT & members(cause["headers"])


def test_the_warning_of_the_page_has_its_members() -> None:
    recording = json.loads((FOLDER / "page-request-apollo.json").read_bytes())
    body = recording["response"]["body"]
    assert body["warnings"]
    for warning in body["warnings"]:
        assert members(warning) == members(PAGE["warnings"][0])
    assert members(PAGE) <= members(body)
