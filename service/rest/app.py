"""The HTTP door: requests to calls, and how they ended to answers."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from service.api import metadata
from service.api.call_handler import CallerGone, CallHandler, CallOutcome, TransportStatus
from service.api.envelope import envelope
from service.domain.deadline import Deadline
from service.domain.errors import CODES, CallRefused, ErrorCode, Outcome, Problem
from service.domain.step import StepUpdate
from service.domain.validation import MAX_BODY_BYTES
from service.rest import openapi
from service.rest.protocol import IDENTITIES
from service.rest.schemas import malformed, parse_body, parse_flag, render

MAX_REQUEST_BYTES: Final = 3 * MAX_BODY_BYTES
"""Longest body of a request that is read, as at the gRPC door; longer ones than the page allows get a reason."""

_JSON: Final = "application/json"
_VALIDATE_ONLY: Final = "validate_only"

# What of a refused request is read, so that its client hears the answer and not the end of the connection.
_DISCARDED_BYTES: Final = 4 * MAX_REQUEST_BYTES
_DISCARD_SECONDS: Final = 2.0

# The client left: what proxies log then, and nobody is told.
_GONE: Final = TransportStatus(http=499)

Metrics = Callable[[], tuple[bytes, str]]
"""Gives the metrics of all workers, and their media type."""


class Door:
    """The application that is served: the PATCH of the REST page, its description, health, metrics.

    Attributes:
        ready: Whether calls are welcome.
    """

    def __init__(self, calls: CallHandler, metrics: Metrics) -> None:
        self.ready = False
        self._calls = calls
        self._metrics = metrics
        self._draining = False
        self._openapi = msgspec.json.encode(openapi.document())
        self._app = Starlette(
            routes=[
                *(
                    Route(f"{prefix}{openapi.PATH}", self._update_step, methods=["PATCH"])
                    for prefix in openapi.PREFIXES
                ),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._show_metrics),
                Route("/openapi.json", self._describe),
            ],
            exception_handlers={HTTPException: self._no_such_operation},
        )
        # An address that is a little wrong is answered so, and not by a redirect that a PATCH would lose its body on.
        self._app.router.redirect_slashes = False

    def drain(self) -> None:
        """Turns not ready, and ends each connection with its next answer."""
        self.ready = False
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def last(message: Message) -> None:
            if self._draining and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, last)

    async def _update_step(self, request: Request) -> Response:
        arrival = _InboundCall(request)
        try:
            ended = await self._calls.update_step(arrival)
        except CallerGone:
            return _Nothing()
        except asyncio.CancelledError:
            if arrival.gone:
                return _Nothing()
            ended = _cut_off(arrival)
        finally:
            arrival.close()
        return await arrival.answer(ended)

    async def _no_such_operation(self, request: Request, error: Exception) -> Response:
        refusal = CallRefused(
            Problem(
                ErrorCode.NOT_FOUND_ERROR,
                f"{request.method} {request.url.path[:200]} is no operation of this service; /openapi.json has them.",
            )
        )
        arrival = _InboundCall(request)
        answer = await arrival.answer(self._calls.refuse(arrival, refusal))
        if isinstance(error, HTTPException) and error.headers:
            answer.headers.update(error.headers)
        return answer

    async def _healthz(self, _: Request) -> Response:
        return _json({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        return _json({"status": "ready"}) if self.ready else _json({"status": "not ready"}, 503)

    async def _show_metrics(self, _: Request) -> Response:
        content, media_type = self._metrics()
        return Response(content, headers={"content-type": media_type})

    async def _describe(self, _: Request) -> Response:
        return Response(self._openapi, media_type=_JSON)


class _InboundCall:
    """A call as HTTP brings it; `service.api.call_handler.InboundCall` says what each method promises.

    Attributes:
        gone: Whether the client went away while it was served.
    """

    def __init__(self, request: Request) -> None:
        self.gone = False
        self._request = request
        self._read = False
        self._watch: asyncio.Task[None] | None = None

    def pairs(self) -> metadata.Pairs:
        # How failures are told is what the HTTP status is for.
        return [
            (name, value)
            for raw, value in self._request.headers.raw
            if (name := raw.decode("latin-1")) != metadata.ERROR_MODE
        ]

    def time_remaining(self) -> float | None:
        return None

    def identities(self) -> Sequence[str]:
        found: Sequence[str] = self._request.scope.get(IDENTITIES, ())
        return found

    async def update(self, told: metadata.CallMetadata, deadline: Deadline) -> StepUpdate:
        request = self._request
        validate_only = parse_flag(_VALIDATE_ONLY, request.query_params.getlist(_VALIDATE_ONLY))
        _check_content(request)
        try:
            async with asyncio.timeout(deadline.remaining()):
                body = await self._body()
        except TimeoutError:
            raise malformed("The body did not arrive in time.") from None
        ids = request.path_params
        update = parse_body(body, told, ids["sequence_id"], ids["sequence_step_id"], validate_only=validate_only)
        self._watch = asyncio.create_task(self._leave_with_the_client(asyncio.current_task()))
        return update

    def told(self, ended: CallOutcome | None) -> TransportStatus:
        return _GONE if ended is None else TransportStatus(http=_status(ended))

    async def _body(self) -> bytes:
        parts: list[bytes] = []
        length = 0
        while True:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                self._read = True
                raise CallerGone
            part = message.get("body", b"")
            length += len(part)
            if length > MAX_REQUEST_BYTES:
                raise malformed(f"The body is longer than {MAX_REQUEST_BYTES // 1024 // 1024} MiB.")
            parts.append(part)
            if not message.get("more_body", False):
                self._read = True
                return b"".join(parts)

    async def _leave_with_the_client(self, work: "asyncio.Task[Any] | None") -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if work is not None:
            work.cancel()

    def close(self) -> None:
        """Ends the look at the client."""
        if self._watch is not None:
            self._watch.cancel()

    async def answer(self, ended: CallOutcome) -> Response:
        """The answer that tells how the call ended."""
        headers = {metadata.REQUEST_ID: ended.request_id, "content-type": _JSON, "cache-control": "no-store"}
        if ended.problem is not None and ended.problem.retry_after is not None:
            headers["retry-after"] = str(math.ceil(ended.problem.retry_after))
        await self._discard()
        if not self._read:
            headers["connection"] = "close"
        return Response(render(ended.response), _status(ended), headers)

    async def _discard(self) -> None:
        """Reads what is left of a request that was refused before its end."""
        left = _DISCARDED_BYTES
        try:
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not self._read and left > 0:
                    message = await self._request.receive()
                    left -= len(message.get("body", b""))
                    self._read = message["type"] == "http.disconnect" or not message.get("more_body", False)
        except TimeoutError:
            pass


class _Nothing(Response):
    """No answer, since nobody is there to read it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pass


def _check_content(request: Request) -> None:
    """Refuses a body that does not say it is JSON.

    Raises:
        CallRefused: It says something else, or that it is compressed.
    """
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    name, _, charset = parameters.strip().partition("=")
    is_utf8 = name.strip().lower() != "charset" or charset.strip(' "').lower() in ("utf-8", "utf8")
    if media_type.strip().lower() != _JSON or not is_utf8:
        raise malformed(f"The body has to be JSON in UTF-8; send it as `content-type: {_JSON}`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise malformed("The body must not be compressed.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_REQUEST_BYTES:
        raise malformed(f"The body is longer than {MAX_REQUEST_BYTES // 1024 // 1024} MiB.")


def _cut_off(arrival: _InboundCall) -> CallOutcome:
    """The end of a call that the server's own end came before."""
    values, _ = metadata.gather(arrival.pairs())
    request_id = metadata.request_id(values)
    problem = Problem(
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        "This server stopped before the update had ended. It may have been carried out; repeating the call is safe.",
        outcome=Outcome.UNKNOWN,
    )
    return CallOutcome(
        request_id, envelope([problem], application_name="", request_id=request_id), problem, refused=True
    )


def _status(ended: CallOutcome) -> int:
    return 200 if ended.problem is None else CODES[ended.problem.code].http_status


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, {"content-type": _JSON, "cache-control": "no-store"})
