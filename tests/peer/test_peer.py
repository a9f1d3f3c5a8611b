"""The vectors for the peer are well-formed, claim nothing that a client cannot know, and those that must fail do."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from tests.peer.script import Script
from tests.peer.server import API_KEY, REFILL, Peer, running_peer
from tests.support.processes import ROOT
from tests.vectors.environment import FOLDER as VECTORS
from tests.vectors.environment import topics, vectors_of
from tests.vectors.judge import Result, calls_of, run_vectors
from tools.polyglot import LANGUAGES, WEB_LEFT_OUT

FOLDER = Path(__file__).parent
FOLDERS = ("vectors", "grpc-web", "mutual-tls", "unreachable", "must-fail")
SCHEMA = ROOT / "tests" / "vectors" / "format" / "vectors.schema.json"
RUNNER: list[str | Path] = [ROOT / "clients" / "python" / "run-vectors.sh", "sync"]


def script_of(vector: dict[str, Any]) -> Script:
    orders = [order["body"] for order in vector.get("sandbox", ()) if order["path"] == "/script"]
    return msgspec.convert(orders[-1], Script) if orders else Script()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_format(folder: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for topic in topics(FOLDER / folder).values():
        validator.validate(topic)
    for vector in vectors_of(FOLDER / folder):
        script_of(vector)


def test_names_are_unique() -> None:
    names = [vector["name"] for folder in FOLDERS for vector in vectors_of(FOLDER / folder)]
    assert len(set(names)) == len(names)


def test_what_is_left_out_is_there() -> None:
    folders = [VECTORS, *(FOLDER / name for name in FOLDERS)]
    there = {name for folder in folders for name in (*topics(folder), *(each["name"] for each in vectors_of(folder)))}
    for language in LANGUAGES:
        assert {*language.left_out} <= there
    assert {*WEB_LEFT_OUT} <= there


def test_nothing_is_claimed_that_a_client_cannot_know() -> None:
    for vector in (*vectors_of(FOLDER / "vectors"), *vectors_of(FOLDER / "grpc-web")):
        last = script_of(vector).attempts[-1]
        says_so = last.details is not None or "errors" in (last.message or {})
        for call in calls_of(vector):
            outcome = call["expect"].get("outcome")
            if ["x-customer-id", REFILL] in call["metadata"]:
                continue
            if outcome in ("NOT_APPLIED", "PARTIALLY_APPLIED"):
                assert says_so, vector["name"]
            if outcome == "APPLIED":
                assert (last.status, last.message is not None) == ("OK", True), vector["name"]


def runner_given(peer: Peer, folder: Path) -> dict[str, str]:
    return {"VECTORS": str(folder), "SANDBOX": peer.control_url, "TARGET": peer.plaintext, "API_KEY": API_KEY}


async def test_vectors_that_must_fail_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    folder = FOLDER / "must-fail"
    async with running_peer(tmp_path) as peer:
        vectors = vectors_of(folder)
        results = [each async for each in run_vectors(RUNNER, vectors, runner_given(peer, folder), longest=3)]
    assert [result.name for result in results] == [vector["name"] for vector in vectors]
    assert [result for result in results if not result.why] == []
    assert results[-2:] == [
        Result("hangs", "hung: nothing came for 3 s"),
        Result("after-one-that-hangs", "not run"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["sync", "aio"])
async def test_the_python_clients_pass(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    folder = FOLDER / "vectors"
    async with running_peer(tmp_path) as peer:
        command = [RUNNER[0], variant]
        results = [each async for each in run_vectors(command, vectors_of(folder), runner_given(peer, folder))]
    assert [result for result in results if result.why] == []
