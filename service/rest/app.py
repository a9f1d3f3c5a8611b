"""The HTTP server's application: the REST page's PATCH on FastAPI, its OpenAPI document and page, health and metrics."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from service.api import contract, metadata
from service.api.call_handler import Asked, CallerGone, CallHandler, CallOutcome
from service.api.methods import (
    GET_STEP,
    GET_STEP_CHANGE,
    LIST_STEP_CHANGES,
    LIST_STEPS,
    REVERT_STEP_CHANGE,
    UPDATE_STEP,
    Method,
)
from service.api.readiness import Readiness
from service.domain.errors import CODES, CallRefused, ErrorCode, Outcome, Problem
from service.rest import api_page
from service.rest.admin import Metrics
from service.rest.request import (
    HttpCall,
    change_ref,
    change_revert,
    changes_query,
    step_query,
    step_update,
    steps_query,
)
from service.rest.schemas import (
    CHANGES_PARAMETERS,
    GET_PARAMETERS,
    LIST_PARAMETERS,
    REVERT_PARAMETERS,
    UPDATE_PARAMETERS,
    Envelope,
    Error,
    ErrorMeta,
    FieldChange,
    Parameters,
    SequenceSteps,
    ServerStatus,
    Step,
    StepChange,
    StepChanges,
    Warning,  # noqa: A004
)

PATH: Final = "/sequences/{sequence_id}/sequence_steps/{sequence_step_id}"
SEQUENCE_PATH: Final = "/sequences/{sequence_id}"
CHANGES_PATH: Final = "/step_changes"
CHANGE_PATH: Final = "/step_changes/{change_id}"
REVERT_PATH: Final = "/step_changes/{change_id}/revert"
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
        title="Sequence Steps",
        version="2",
        description="Reads the steps of a sequence at a sales-engagement provider, changes one of them, and looks back. The same as "
        "`engagement.v1.SequenceStepService` over gRPC.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
        openapi_tags=[
            {"name": _STEPS, "description": "Steps of sequences at Apollo and Outreach."},
            {"name": _HISTORY, "description": "What updates changed, where the service keeps it."},
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
    app.router.routes.extend(_operations())

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


@cache
def _operations() -> tuple[BaseRoute, ...]:
    """The routes of the operations, which are the same in each application; making them takes most of the time to make one."""
    router = APIRouter()
    router.add_api_route(
        PATH,
        step_update,
        methods=["PATCH"],
        route_class_override=_unread(_UPDATE),
        operation_id="updateSequenceStep",
        summary="Update sequence step",
        description="Changes what the record names and leaves the rest alone. Repeating a call is always safe. Works "
        "for Apollo and Outreach; Salesloft answers `NOT_IMPLEMENTED_ERROR`.",
        tags=[_STEPS],
        dependencies=[Security(_API_KEY)],
        response_model=Envelope,
        responses=_responses("Sequence step updated", {"updated": _UPDATED}),
    )
    router.add_api_route(
        PATH,
        step_query,
        methods=["GET"],
        route_class_override=_unread(_GET),
        operation_id="getSequenceStep",
        summary="Get sequence step",
        description="Reads one step as the provider holds it now, with all of its variants.",
        tags=[_STEPS],
        dependencies=[Security(_API_KEY)],
        response_model=Step,
        responses=_responses("The step"),
    )
    router.add_api_route(
        SEQUENCE_PATH,
        steps_query,
        methods=["GET"],
        route_class_override=_unread(_LIST),
        operation_id="getSequence",
        summary="Get sequence",
        description="Reads a sequence and all of its steps.",
        tags=[_STEPS],
        dependencies=[Security(_API_KEY)],
        response_model=SequenceSteps,
        responses=_responses("The sequence"),
    )
    _add_history(router)
    for route in [each for each in router.routes if isinstance(each, APIRoute)]:
        # They are not in the document: to describe them again would take as long as it does for those that are.
        router.add_api_route(
            PREFIX + route.path,
            _undocumented,
            methods=list(route.methods or ()),
            route_class_override=type(route),
            include_in_schema=False,
        )
    return tuple(router.routes)


def _add_history(router: APIRouter) -> None:
    """Adds the operations of looking back."""
    router.add_api_route(
        CHANGES_PATH,
        changes_query,
        methods=["GET"],
        route_class_override=_unread(_LIST_CHANGES),
        operation_id="getStepChanges",
        summary="Get step changes",
        description="Lists what updates changed, newest first, where the service keeps a history.",
        tags=[_HISTORY],
        dependencies=[Security(_API_KEY)],
        response_model=StepChanges,
        responses=_responses("A page of changes"),
    )
    router.add_api_route(
        CHANGE_PATH,
        change_ref,
        methods=["GET"],
        route_class_override=_unread(_GET_CHANGE),
        operation_id="getStepChange",
        summary="Get step change",
        description="Reads one change, its texts whole.",
        tags=[_HISTORY],
        dependencies=[Security(_API_KEY)],
        response_model=StepChange,
        responses=_responses("The change"),
    )
    router.add_api_route(
        REVERT_PATH,
        change_revert,
        methods=["POST"],
        route_class_override=_unread(_REVERT),
        operation_id="revertStepChange",
        summary="Revert step change",
        description="Sets what a change replaced back to what it was before, unless somebody has changed it since. Repeating a "
        "call is always safe.",
        tags=[_HISTORY],
        dependencies=[Security(_API_KEY)],
        response_model=Envelope,
        responses=_responses("Change taken back"),
    )


@dataclass(frozen=True, slots=True)
class _Operation:
    """What an operation does with a request: its method in the contract, and how it is read."""

    method: Method
    parse: Callable[..., Asked]
    parameters: Parameters
    has_body: bool = False


_UPDATE: Final = _Operation(UPDATE_STEP, step_update, UPDATE_PARAMETERS, has_body=True)
_GET: Final = _Operation(GET_STEP, step_query, GET_PARAMETERS)
_LIST: Final = _Operation(LIST_STEPS, steps_query, LIST_PARAMETERS)
_LIST_CHANGES: Final = _Operation(LIST_STEP_CHANGES, changes_query, CHANGES_PARAMETERS)
_GET_CHANGE: Final = _Operation(GET_STEP_CHANGE, change_ref, {})
_REVERT: Final = _Operation(REVERT_STEP_CHANGE, change_revert, REVERT_PARAMETERS)


def _unread(operation: _Operation) -> type[APIRoute]:
    """A kind of route whose handler gets the request unread.

    FastAPI would read and check all of a request before its endpoint runs, also for callers that nobody knows yet.
    """

    class UnreadRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            return partial(_answer, operation)

    return UnreadRoute


async def _undocumented() -> None:
    """Stands for what describes an operation in the document; its route does not call it."""


def _call(operation: _Operation, request: Request) -> HttpCall:
    return HttpCall(request, operation.parse, operation.parameters, has_body=operation.has_body)


async def _answer(operation: _Operation, request: Request) -> Response:
    call_handler: CallHandler = request.app.state.call_handler
    call = _call(operation, request)
    try:
        outcome = await call_handler.handle(operation.method, call)
    except (CallerGone, asyncio.CancelledError):
        # Either the client has left, and nobody receives this, or the server stops and has no more time for the call.
        outcome = _cut_off(operation.method, call)
    finally:
        call.close()
    return await call.respond(outcome)


def _cut_off(method: Method, call: HttpCall) -> CallOutcome:
    """The outcome of a call that was cancelled before it had one."""
    values, _ = metadata.gather(call.metadata_pairs())
    request_id = metadata.request_id(values)
    problem = Problem(
        ErrorCode.SERVICE_UNAVAILABLE_ERROR,
        "This server stopped before the update had ended. It may have been carried out; repeating the call is safe."
        if method.is_write
        else "This server stopped before the call had ended.",
        outcome=Outcome.UNKNOWN if method.is_write else Outcome.NOT_APPLIED,
    )
    return CallOutcome(
        request_id, method.refuse(problem, application_name="", request_id=request_id), problem, refused=True
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
    call = _call(_UPDATE, request)
    response = await call.respond(call_handler.refuse(call, CallRefused(Problem(code, what))))
    if methods:
        response.headers["allow"] = ", ".join(methods)
    return response


_STEPS: Final = "sequence steps"
_HISTORY: Final = "history"
_OPERATIONS: Final = "operations"

_API_KEY: Final = APIKeyHeader(
    name=contract.API_KEY,
    scheme_name="api_key",
    description="The key of the calling application. A client certificate can stand for it.",
    auto_error=False,
)
_ENVELOPE: Final = {"$ref": f"#/components/schemas/{Envelope.__name__}"}
_HEADERS: Final = {
    contract.REQUEST_ID: {"description": "The id of the call.", "required": True, "schema": {"type": "string"}},
    "retry-after": {
        "description": "Seconds after which the same call can succeed, if they are known.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def _responses(good: str, examples: dict[str, Envelope] | None = None) -> dict[int | str, dict[str, Any]]:
    """What an operation answers by status, for the OpenAPI document; failures are made from the table of codes.

    The schema of a failure is written as a reference, and not given as a model, which FastAPI would prepare for each status of
    each operation again; that would take most of the time to make the application. An update has the same schema.

    Args:
        good: What its success is.
        examples: Successes, by name.
    """
    codes: dict[int, list[ErrorCode]] = {}
    for code, spec in CODES.items():
        if code is not ErrorCode.METHOD_NOT_ALLOWED_ERROR:
            codes.setdefault(spec.http_status, []).append(code)
    return {
        200: _response(good, _examples(examples) if examples else {}),
        **{
            status: _response(
                " ".join(f"`{code}`: {CODES[code].meaning}" for code in named),
                {"schema": _ENVELOPE} | _examples({code.value: _failure(code) for code in named}),
            )
            for status, named in codes.items()
        },
    }


def _response(description: str, content: dict[str, Any]) -> dict[str, Any]:
    response = {"description": description, "headers": _HEADERS}
    return response | ({"content": {"application/json": content}} if content else {})


def _examples(envelopes: dict[str, Envelope]) -> dict[str, Any]:
    return {"examples": {name: {"value": each.model_dump(mode="json")} for name, each in envelopes.items()}}


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
