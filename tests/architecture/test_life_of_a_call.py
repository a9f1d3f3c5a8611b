"""The page on the architecture names the files and frames that a real call passes on its way to the provider."""

import re
import sys
from pathlib import Path
from types import FrameType

import httpx
import pytest

from service.upstream import http
from tests.support.service import RunningService

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
SEND = http.HttpTransport.handle_async_request


def frames_of_our_own() -> list[tuple[str, str]]:
    """The frames of `service/` on the stack, outermost first: file and function."""
    frame: FrameType | None = sys._getframe(1)
    found: list[tuple[str, str]] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if SERVICE in path.parents:
            found.append((path.relative_to(SERVICE).as_posix(), frame.f_code.co_name))
        frame = frame.f_back
    return found[::-1]


async def frames_of_the_read(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, provider: str, sequence: object, step: object
) -> list[tuple[str, str]]:
    """The frames at the moment when the first request of an update is given to the library that sends it."""
    seen: list[list[tuple[str, str]]] = []

    async def record(self: http.HttpTransport, request: httpx.Request) -> httpx.Response:
        seen.append([*frames_of_our_own(), ("upstream/http.py", "handle_async_request")])
        return await SEND(self, request)

    monkeypatch.setattr(http.HttpTransport, "handle_async_request", record)
    result = await service.update(provider, sequence, step, subject="Another subject")
    assert result.errors == []
    return seen[0]


def page() -> str:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    return text[text.index("## The life of one call") : text.index("## Choices")]


def stated() -> dict[str, int]:
    numbers = re.search(r"(\d+) files.*?(\d+) frames at Apollo.*?(\d+) at Outreach", page(), re.DOTALL)
    assert numbers is not None
    return dict(zip(("files", "apollo", "outreach"), map(int, numbers.groups()), strict=True))


@pytest.mark.parametrize(
    ("provider", "sequence", "step"),
    [("apollo", "5f0000000000000000000101", "5f0000000000000000000201"), ("outreach", 7, 101)],
)
async def test_the_page_states_the_files_and_frames_of_a_call(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, provider: str, sequence: object, step: object
) -> None:
    frames = await frames_of_the_read(service, monkeypatch, provider, sequence, step)
    assert {"files": len({file for file, _ in frames}), provider: len(frames)}.items() <= stated().items()


async def test_the_page_names_each_frame_in_its_file(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = await frames_of_the_read(
        service, monkeypatch, "apollo", "5f0000000000000000000101", "5f0000000000000000000201"
    )
    items = re.findall(r"^\d\. `([\w/.]+)` — (.*?)(?=^\d\. |\n\n)", page(), re.MULTILINE | re.DOTALL)
    assert [file for file, _ in items] == list(dict.fromkeys(file for file, _ in frames))
    text = dict(items)
    assert {(file, name) for file, name in frames if f"`{name}`" not in text[file]} == set()
