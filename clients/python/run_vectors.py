"""Runs the vectors of tests/vectors with blocking calls (`sync`) or asyncio (`aio`), and prints what it observes.

tests/vectors/README.md says what a runner is given and what it does.
"""

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import grpc
from engagement.v1 import connection_service_pb2, sequence_step_service_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message

from seqstep_client.answers import Details, details_of, outcome_of
from seqstep_client.channel import ApiKey, Tls, open_aio_channel, open_channel

DEFAULT_DEADLINE_SECONDS = 10
OUTCOMES_OF = {"UpdateStep", "RevertStepChange"}
"""The methods after which a step may be another."""


@dataclass(frozen=True)
class Method:
    """A method with its messages."""

    name: str
    path: str
    request: type[Message]
    response: type[Message]


def methods() -> Iterator[Method]:
    for file in (sequence_step_service_pb2, connection_service_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                request, response = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
                yield Method(method.name, f"/{service.full_name}/{method.name}", request, response)


METHODS = {method.name: method for method in methods()}


@dataclass(frozen=True)
class Call:
    """One call of a vector, ready to be made."""

    method: Method
    request: Message
    metadata: list[tuple[str, str]]
    credentials: grpc.CallCredentials | None
    deadline: float
    cancel_after: float | None

    @property
    def options(self) -> dict[str, Any]:
        return {"metadata": self.metadata, "credentials": self.credentials, "timeout": self.deadline}


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    code: grpc.StatusCode
    message: str
    response: Message | None
    trailers: Iterable[tuple[str, str | bytes]]
    seconds: float
    details: Details[Any] = field(default_factory=Details)


def failed(call: Call, error: Any, seconds: float) -> Ended:
    details: Details[Any] = details_of(error, call.method.response)
    trailers = error.trailing_metadata() or ()
    return Ended(error.code(), error.details() or "", details.response, trailers, seconds, details)


class Blocking:
    """Calls that block."""

    def __init__(self, target: str, tls: Tls | None) -> None:
        self._channel = open_channel(target, tls=tls, plaintext=tls is None)

    def make(self, calls: Sequence[Call]) -> list[Ended | Exception]:
        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(self._make_one, calls))

    def _make_one(self, call: Call) -> Ended | Exception:
        method: Any = self._channel.unary_unary(
            call.method.path, call.method.request.SerializeToString, call.method.response.FromString
        )
        started = time.monotonic()
        try:
            if call.cancel_after is None:
                response, ended = method.with_call(call.request, **call.options)
            else:
                ended = method.future(call.request, **call.options)
                timer = Timer(call.cancel_after, ended.cancel)
                timer.start()
                response = ended.result()
            return Ended(
                ended.code(), ended.details(), response, ended.trailing_metadata() or (), time.monotonic() - started
            )
        except grpc.FutureCancelledError:
            return failed(call, ended, time.monotonic() - started)
        except grpc.RpcError as error:
            return failed(call, error, time.monotonic() - started)
        except Exception as error:  # noqa: BLE001  # it is what is observed
            return error


class Asynchronous:
    """Calls with asyncio."""

    def __init__(self, target: str, tls: Tls | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._channel = self._loop.run_until_complete(self._open(target, tls))

    async def _open(self, target: str, tls: Tls | None) -> grpc.aio.Channel:
        # A channel belongs to the loop that it is opened in.
        return open_aio_channel(target, tls=tls, plaintext=tls is None)

    def make(self, calls: Sequence[Call]) -> list[Ended | Exception]:
        async def make() -> list[Ended | Exception]:
            return await asyncio.gather(*map(self._make_one, calls))

        return self._loop.run_until_complete(make())

    async def _make_one(self, call: Call) -> Ended | Exception:
        method: Any = self._channel.unary_unary(
            call.method.path, call.method.request.SerializeToString, call.method.response.FromString
        )
        started = time.monotonic()
        made = method(call.request, **call.options)
        try:
            if call.cancel_after is not None:
                asyncio.get_running_loop().call_later(call.cancel_after, made.cancel)
            response = await made
            return Ended(
                await made.code(),
                await made.details(),
                response,
                await made.trailing_metadata(),
                time.monotonic() - started,
            )
        except asyncio.CancelledError:
            error = grpc.aio.AioRpcError(
                await made.code(), await made.initial_metadata(), await made.trailing_metadata(), await made.details()
            )
            return failed(call, error, time.monotonic() - started)
        except grpc.aio.AioRpcError as error:
            return failed(call, error, time.monotonic() - started)
        except Exception as error:  # noqa: BLE001  # it is what is observed
            return error


def control(method: str, path: str, body: Any = None) -> Any:
    """Speaks to the sandbox's control API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{os.environ['SANDBOX']}/_sandbox{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def request_of(given: dict[str, Any], method: Method, captured: dict[str, Any]) -> Message:
    request: Any = json_format.ParseDict(filled(given["request"], captured), method.request())
    for path, repeat in given.get("repeat", {}).items():
        owner, _, name = path.partition(".")
        text = repeat["text"] * repeat["times"]
        if owner == "template":
            setattr(request.record.template, name, text)
        else:
            request.record.custom_fields[name] = text
    return request  # type: ignore[no-any-return]


def filled(value: Any, captured: dict[str, Any]) -> Any:
    """The value with what was captured in the place of each text `${NAME}`."""
    match value:
        case str() if value.startswith("${") and value.endswith("}"):
            return captured.get(value[2:-1], value)
        case dict():
            return {key: filled(member, captured) for key, member in value.items()}
        case list():
            return [filled(each, captured) for each in value]
        case _:
            return value


def found(path: str, value: Any) -> Any:
    """What a path such as `response.steps.0.etag` leads to."""
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def observe(call: Call, ended: Ended | Exception) -> dict[str, Any]:
    """The observation of a call, except for the calls of the provider."""
    if isinstance(ended, Exception):
        return {"crashed": repr(ended)}
    seen: dict[str, Any] = {
        "status": ended.code.name,
        "message": ended.message,
        "trailers": {key: value for key, value in ended.trailers if key.startswith("x-")},
        "seconds": ended.seconds,
    }
    if ended.response is not None:
        seen["response"] = json_format.MessageToDict(
            ended.response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    if call.method.name in OUTCOMES_OF:
        seen["outcome"] = outcome_of(ended.response).name
    details = ended.details
    if details.bad_request is not None:
        seen["violations"] = {each.field: each.description for each in details.bad_request.field_violations}
    if details.retry_info is not None:
        seen["retry_delay"] = details.retry_info.retry_delay.ToNanoseconds() / 1e9
    if details.error_info is not None:
        seen["reason"] = details.error_info.reason
    return seen


def run(vector: dict[str, Any], make: Callable[[Sequence[Call]], list[Ended | Exception]], key: ApiKey) -> Any:
    """Makes the calls of one vector, and returns the observation of each."""
    control("POST", "/reset")
    for order in vector.get("sandbox", []):
        control(order["method"], order["path"], order.get("body"))
    captured: dict[str, Any] = {}
    observations: list[dict[str, Any]] = []
    for given in vector.get("calls", [vector]):
        metadata = [(name, filled(value, captured)) for name, value in given["metadata"]]
        has_key = any(name == "x-api-key" for name, _ in metadata)
        method = METHODS[given.get("method", "UpdateStep")]
        call = Call(
            method,
            request_of(given, method, captured),
            metadata if has_key else [*metadata, *key.metadata],
            None if has_key else key.credentials,
            given.get("deadline_seconds", DEFAULT_DEADLINE_SECONDS),
            given.get("cancel_after_seconds"),
        )
        seen = [observe(call, ended) for ended in make([call] * given.get("times", 1))]
        provider_calls = len(control("GET", "/calls"))
        observations += [each | {"provider_calls": provider_calls} for each in seen]
        for name, path in given.get("capture", {}).items():
            # What was not there is missed by the expectations.
            with suppress(LookupError, TypeError, ValueError):
                captured[name] = found(path, observations[-1])
    return observations


def main(variant: str = "sync") -> int:
    target, environment = os.environ["TARGET"], os.environ
    files = [environment.get(name) for name in ("CA", "CLIENT_CERTIFICATE", "CLIENT_KEY")]
    tls = Tls.from_files(*files) if any(files) else None
    key = ApiKey.of(environment["API_KEY"], target, plaintext=tls is None)
    calls = Blocking(target, tls) if variant == "sync" else Asynchronous(target, tls)
    for file in sorted(Path(environment["VECTORS"]).glob("*.json")):
        if file.name == "customers.json":
            continue
        for vector in json.loads(file.read_text(encoding="utf-8"))["vectors"]:
            print(json.dumps({"vector": vector["name"], "observations": run(vector, calls.make, key)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
