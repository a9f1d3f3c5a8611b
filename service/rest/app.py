"""The HTTP server's application: the REST page's PATCH on FastAPI, its OpenAPI document and page, health and metrics."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import FastAPI, Request, Response, Security
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from service.api import contract, metadata
from service.api.call_handler import CallerGone, CallHandler, CallOutcome
from service.api.envelope import envelope
from service.api.readiness import Readiness
from service.domain.errors import CODES, CallRefused, ErrorCode, Outcome, Problem
from service.rest import api_page
from service.rest.admin import Metrics
from service.rest.request import HttpCall, step_update
from service.rest.schemas import Envelope, Error, ErrorMeta, FieldChange, ServerStatus, Warning  # noqa: A004

PATH: Final = "/sequences/{sequence_id}/sequence_steps/{sequence_step_id}"
PREFIX: Final = "/engagement/v2"
"""What the path can have before it; the OpenAPI document has the path without it."""

_NO_STORE: Final = {"cache-control": "no-store"}


def create_app(
    call_handler: CallHandler, metrics: Metrics, readiness: Readiness, *, shows_api_page: bool = True
) -> FastAPI:
    """The application that serves the PATCH of the REST page, its OpenAPI document, health and metrics.

    Args:
        call_handler: Carries out the calls.
        metrics: Gives what `/metrics` serves.
        readiness: What `/readyz` answers.
        shows_api_page: Serve `/docs`, which shows the document to people.
    """
    app = FastAPI(
        title="Update Sequence Step",
        version="2",
        description="Changes one step of one sequence at a sales-engagement provider. The same as "
        "`engagement.v1.SequenceStepService/UpdateStep` over gRPC.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
        openapi_tags=[
            {"name": _STEPS, "description": "Steps of sequences at Apollo and Outreach."},
            {"name": _OPERATIONS, "description": "For those who run the service; they need no key."},
        ],
        # FastAPI's own pages that show the document would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # A path that is a little wrong is answered so, and not by a redirect that a PATCH would lose its body on.
        redirect_slashes=False,
        # It would record queries and messages of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: _no_such_operation},
    )
    app.state.call_handler = call_handler
    for prefix in ("", PREFIX):
        app.router.add_api_route(
            prefix + PATH,
            step_update,
            methods=["PATCH"],
            route_class_override=_UnreadRoute,
            include_in_schema=not prefix,
            operation_id="updateSequenceStep",
            summary="Update sequence step",
            description="Changes what the record names and leaves the rest alone. Repeating a call is always safe. Works "
            "for Apollo and Outreach; Salesloft answers `NOT_IMPLEMENTED_ERROR`.",
            tags=[_STEPS],
            dependencies=[Security(_API_KEY)],
            response_model=Envelope,
            responses=_responses(),
        )

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", operation_id="healthz", summary="Whether the process is alive", tags=[_OPERATIONS])
    async def healthz(response: Response) -> ServerStatus:
        response.headers.update(_NO_STORE)
        return ServerStatus(status="alive")

    @app.head("/readyz", include_in_schema=False)
    @app.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether calls are welcome",
        tags=[_OPERATIONS],
        responses={503: {"model": ServerStatus, "description": "The server starts or stops, or its database is away."}},
    )
    async def readyz(response: Response) -> ServerStatus:
        response.headers.update(_NO_STORE)
        if readiness.is_ready:
            return ServerStatus(status="ready")
        response.status_code = 503
        return ServerStatus(status="not ready")

    @app.head("/metrics", include_in_schema=False)
    @app.get(
        "/metrics",
        operation_id="metrics",
        summary="Metrics for Prometheus, of all workers",
        tags=[_OPERATIONS],
        response_class=PlainTextResponse,
    )
    async def scrape() -> Response:
        content, media_type = metrics()
        return Response(content, headers={"content-type": media_type})

    if shows_api_page:
        # Last, so that calls pass none of them.
        app.router.routes.extend(api_page.routes())
    return app


class _UnreadRoute(APIRoute):
    """A route whose handler gets the request unread.

    FastAPI would read and check all of a request before its endpoint runs, also for callers that nobody knows yet.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return _update_step


async def _update_step(request: Request) -> Response:
    call_handler: CallHandler = request.app.state.call_handler
    call = HttpCall(request)
    try:
        outcome = await call_handler.update_step(call)
    except (CallerGone, asyncio.CancelledError):
        # Either the client has left, and nobody receives this, or the server stops and has no more time for the call.
        outcome = _cut_off(call)
    finally:
        call.close()
    return await call.respond(outcome)


def _cut_off(call: HttpCall) -> CallOutcome:
    """The outcome of a call that was cancelled before it had one."""
    values, _ = metadata.gather(call.metadata_pairs())
    request_id = metadata.request_id(values)
    problem = Problem(
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        "This server stopped before the update had ended. It may have been carried out; repeating the call is safe.",
        outcome=Outcome.UNKNOWN,
    )
    return CallOutcome(
        request_id, envelope([problem], application_name="", request_id=request_id), problem, refused=True
    )


async def _no_such_operation(request: Request, _: Exception) -> Response:
    call_handler: CallHandler = request.app.state.call_handler
    methods = sorted(
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    )
    code = ErrorCode.METHOD_NOT_ALLOWED_ERROR if methods else ErrorCode.NOT_FOUND_ERROR
    what = f"{request.method} {request.url.path[:200]} is no operation of this service; /openapi.json has them."
    call = HttpCall(request)
    response = await call.respond(call_handler.refuse(call, CallRefused(Problem(code, what))))
    if methods:
        response.headers["allow"] = ", ".join(methods)
    return response


_STEPS: Final = "sequence steps"
_OPERATIONS: Final = "operations"

_API_KEY: Final = APIKeyHeader(
    name=contract.API_KEY,
    scheme_name="api_key",
    description="The key of the calling application. A client certificate can stand for it.",
    auto_error=False,
)
_HEADERS: Final = {
    contract.REQUEST_ID: {"description": "The id of the call.", "required": True, "schema": {"type": "string"}},
    "retry-after": {
        "description": "Seconds after which the same call can succeed, if they are known.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def _responses() -> dict[int | str, dict[str, Any]]:
    """What the operation answers by status, for the OpenAPI document; made from the table of codes."""
    codes: dict[int, list[ErrorCode]] = {}
    for code, spec in CODES.items():
        if code is not ErrorCode.METHOD_NOT_ALLOWED_ERROR:
            codes.setdefault(spec.http_status, []).append(code)
    return {
        200: _response("Sequence step updated", {"updated": _UPDATED}),
        **{
            status: _response(
                " ".join(f"`{code}`: {CODES[code].meaning}" for code in named),
                {code.value: _failure(code) for code in named},
            )
            for status, named in codes.items()
        },
    }


def _response(description: str, examples: dict[str, Envelope]) -> dict[str, Any]:
    shown = {name: {"value": example.model_dump(mode="json")} for name, example in examples.items()}
    return {
        "model": Envelope,
        "description": description,
        "headers": _HEADERS,
        "content": {"application/json": {"examples": shown}},
    }


def _failure(code: ErrorCode) -> Envelope:
    spec = CODES[code]
    error = Error(
        id="9366efb4-8fb1-4a28-bfb0-8d6f9cc6b5c5",
        detail=spec.meaning,
        problem_type=code.value,
        title=spec.title,
        code=code.value,
        status=str(spec.http_status),
        meta=ErrorMeta(
            origin="supaglue",
            application_name="billing",
            outcome="ERROR_OUTCOME_NOT_APPLIED",
            request_id="r-1",
        ),
    )
    return Envelope(errors=[error], warnings=[], changes=[])


_UPDATED: Final = Envelope(
    errors=[],
    warnings=[
        Warning(
            detail="The sequence is on: people who are already in it get the step as changed.",
            problem_type="SEQUENCE_ACTIVE",
            title="The sequence is on",
        )
    ],
    changes=[FieldChange(field="template.subject", before="Quick question", after="Thursday?")],
)
