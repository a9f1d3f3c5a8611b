"""Runs the vectors of tests/vectors with the blocking client (`sync`) or the one for asyncio (`aio`).

tests/vectors/README.md says what a runner is given and what it does.
"""

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import update_step
import update_step_aio
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc as pb_grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_status import rpc_status

DEFAULT_DEADLINE_SECONDS = 10

Pairs = Sequence[tuple[str, str]]

METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "UpdateStep": (pb.UpdateStepRequest, pb.UpdateStepResponse),
    "GetStep": (pb.GetStepRequest, pb.GetStepResponse),
    "ListSteps": (pb.ListStepsRequest, pb.ListStepsResponse),
}
"""The methods with their requests and responses."""


@dataclass
class Ended:
    """How a call ended."""

    code: grpc.StatusCode
    message: str
    response: Message
    details: update_step.Details
    trailers: Iterable[tuple[str, str | bytes]]


Call = Callable[[str, Message, Pairs, float], Ended]


def failed(method: str, error: grpc.RpcError | grpc.aio.AioRpcError) -> Ended:
    details, response = update_step.details_of(error), METHODS[method][1]()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        detail.Unpack(response)
    return Ended(error.code(), error.details() or "", response, details, error.trailing_metadata() or ())


def sync_call(target: str, ca: str | None) -> Call:
    stub = pb_grpc.SequenceStepServiceStub(update_step.open_channel(target, ca))

    def call(method: str, request: Message, metadata: Pairs, seconds: float) -> Ended:
        try:
            response, ended = getattr(stub, method).with_call(request, metadata=metadata, timeout=seconds)
        except grpc.RpcError as error:
            return failed(method, error)
        return Ended(ended.code(), ended.details(), response, update_step.Details(), ended.trailing_metadata())

    return call


def aio_call(target: str, ca: str | None) -> Call:
    loop = asyncio.new_event_loop()
    stub: pb_grpc.SequenceStepServiceAsyncStub | None = None

    async def make(method: str, request: Message, metadata: Pairs, seconds: float) -> Ended:
        nonlocal stub
        # A channel belongs to the loop that it is opened in.
        stub = stub or pb_grpc.SequenceStepServiceStub(update_step_aio.open_channel(target, ca))
        call = getattr(stub, method)(request, metadata=metadata, timeout=seconds)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            return failed(method, error)
        return Ended(
            await call.code(), await call.details(), response, update_step.Details(), await call.trailing_metadata()
        )

    return lambda *what: loop.run_until_complete(make(*what))


def control(method: str, path: str, body: Any = None) -> Any:
    """Speaks to the sandbox's control API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{os.environ['SANDBOX']}/_sandbox{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def request_of(vector: dict[str, Any]) -> Any:
    request: Any = json_format.ParseDict(vector["request"], METHODS[method_of(vector)][0]())
    for path, repeat in vector.get("repeat", {}).items():
        owner, _, name = path.partition(".")
        text = repeat["text"] * repeat["times"]
        if owner == "template":
            setattr(request.record.template, name, text)
        else:
            request.record.custom_fields[name] = text
    return request


def method_of(vector: dict[str, Any]) -> str:
    method: str = vector.get("method", "UpdateStep")
    return method


def observe(ended: Ended) -> dict[str, Any]:
    """The observation of a call, except for the calls of the provider."""
    seen: dict[str, Any] = {
        "status": ended.code.name,
        "message": ended.message,
        "response": json_format.MessageToDict(
            ended.response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        ),
        "trailers": {key: value for key, value in ended.trailers if key.startswith("x-")},
    }
    details = ended.details
    if details.bad_request.field_violations:
        seen["violations"] = {each.field: each.description for each in details.bad_request.field_violations}
    if details.retry_info.HasField("retry_delay"):
        seen["retry_delay"] = details.retry_info.retry_delay.ToTimedelta().total_seconds()
    if details.error_info.reason:
        seen["reason"] = details.error_info.reason
    return seen


ABSENT = object()


def mismatches(expected: Any, actual: Any, path: str) -> list[str]:
    """What of an observation is not as expected."""
    match expected:
        case {"$absent": True}:
            fine = actual is ABSENT
        case {"$present": True}:
            fine = actual is not ABSENT and actual is not None and actual != ""
        case {"$contains": text}:
            fine = isinstance(actual, str) and text in actual
        case {"$bytes": most}:
            fine = isinstance(actual, str) and len(actual.encode()) <= most
        case {"$between": [low, high]}:
            fine = is_number(actual) and low <= actual <= high
        case dict():
            if not isinstance(actual, dict):
                return [f"{path} is {shown(actual)}, not an object"]
            return [
                each
                for key, value in expected.items()
                for each in mismatches(value, actual.get(key, ABSENT), f"{path}.{key}".lstrip("."))
            ]
        case list():
            if not isinstance(actual, list) or len(actual) != len(expected):
                return [f"{path} is {shown(actual)}, not {len(expected)} elements"]
            return [
                each
                for index, (one, other) in enumerate(zip(expected, actual, strict=True))
                for each in mismatches(one, other, f"{path}[{index}]")
            ]
        case _:
            # To Python, true equals 1.
            fine = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    return [] if fine else [f"{path} is {shown(actual)}, not {shown(expected)}"]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    text = "absent" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


def run(vector: dict[str, Any], call: Call) -> list[str]:
    """Runs one vector; returns what is wrong."""
    control("POST", "/reset")
    for order in vector.get("sandbox", []):
        control(order["method"], order["path"], order.get("body"))
    metadata = [(key, value) for key, value in vector["metadata"]]
    if not any(key == "x-api-key" for key, _ in metadata):
        metadata.append(("x-api-key", os.environ["API_KEY"]))
    seconds = vector.get("deadline_seconds", DEFAULT_DEADLINE_SECONDS)
    seen = observe(call(method_of(vector), request_of(vector), metadata, seconds))
    seen["provider_calls"] = len(control("GET", "/calls"))
    return mismatches(vector["expect"], seen, "")


def main(variant: str = "sync") -> int:
    call = {"sync": sync_call, "aio": aio_call}[variant](os.environ["TARGET"], os.environ.get("CA"))
    failures = 0
    for file in sorted(Path(os.environ["VECTORS"]).glob("*.json")):
        if file.name == "customers.json":
            continue
        for vector in json.loads(file.read_text(encoding="utf-8"))["vectors"]:
            wrong = run(vector, call)
            failures += bool(wrong)
            print(f"failed {vector['name']}: {'; '.join(wrong)}" if wrong else f"passed {vector['name']}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
