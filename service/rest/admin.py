"""The admin server's application: health, readiness and metrics, in plaintext and without certificates."""

from collections.abc import Callable
from typing import Final, TypeAlias

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.api.readiness import Readiness

Metrics: TypeAlias = Callable[[], tuple[bytes, str]]
"""Gives the metrics of all workers, and their media type."""

_NO_STORE: Final = {"cache-control": "no-store"}


def create_admin_app(metrics: Metrics, readiness: Readiness) -> Starlette:
    """The application that serves `/healthz`, `/readyz` and `/metrics`, as the HTTP server does, and nothing else.

    Args:
        metrics: Gives what `/metrics` serves.
        readiness: What `/readyz` answers.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=_NO_STORE)

    async def readyz(_: Request) -> Response:
        if readiness.is_ready:
            return JSONResponse({"status": "ready"}, headers=_NO_STORE)
        return JSONResponse({"status": "not ready"}, 503, headers=_NO_STORE)

    async def scrape(_: Request) -> Response:
        content, media_type = metrics()
        return Response(content, headers={"content-type": media_type})

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", scrape)])
