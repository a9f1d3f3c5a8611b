"""HTTP/1.1 as uvicorn speaks it, with answers in the envelope and no patience for heads that do not come."""

import asyncio
import ssl
import uuid
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.api.envelope import envelope
from service.domain.errors import ErrorCode, Problem
from service.rest.schemas import render

MAX_HEAD_BYTES: Final = 16 * 1024
"""Longest head of a request, as at the gRPC door."""

HEAD_SECONDS: Final = 10.0
"""How long the head of a request may take to arrive."""

IDENTITIES: Final = "seqstep.identities"
"""Where in an ASGI scope the names in the client's certificate are."""


class HttpProtocol(H11Protocol):
    """One connection."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Takes note of who the client is by its certificate."""
        super().connection_made(transport)
        identities = _identities(transport.get_extra_info("ssl_object"))
        if identities:
            app = self.app

            async def known(scope: Any, receive: Any, send: Any) -> None:
                scope[IDENTITIES] = identities
                await app(scope, receive, send)

            self.app = known
        self._mind_the_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what arrived."""
        super().data_received(data)
        self._mind_the_head()

    def _mind_the_head(self) -> None:
        waiting = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # it is None at first
        if waiting and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waiting and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP/1.1, or has too long a head, in the envelope."""
        request_id = str(uuid.uuid4())
        problem = Problem(
            ErrorCode.BAD_REQUEST,
            f"{msg} The head may have {MAX_HEAD_BYTES // 1024} KiB and has to be that of an HTTP/1.1 request.",
        )
        body = render(envelope([problem], application_name="", request_id=request_id))
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-request-id", request_id),
            ("connection", "close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=headers, reason="Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()


def _identities(connection: ssl.SSLObject | None) -> list[str]:
    """The alternative names and the common name of a client certificate that TLS has verified; empty without one."""
    certificate: Any = connection.getpeercert() if connection is not None else None
    if not certificate:
        return []
    names = [str(value) for _, value in certificate.get("subjectAltName", ())]
    common = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return [*names, *common]
