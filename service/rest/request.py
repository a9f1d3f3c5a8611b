"""A call as HTTP brings it: its metadata, its body, and the response that ends it."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import Header, Path, Query, Request, Response
from pydantic import MISSING, InstanceOf, WithJsonSchema

from service.api import contract, metadata
from service.api.call_handler import Asked, CallerGone, CallOutcome, TransportStatus
from service.domain.deadline import Deadline
from service.domain.errors import CODES, CallRefused
from service.domain.sequence import StepQuery
from service.domain.step import Provider, StepUpdate
from service.domain.step_changes import ChangeRef, ChangeRevert, ChangesQuery
from service.domain.validation import MAX_BODY_BYTES, MAX_ID_CHARACTERS
from service.providers import providers
from service.rest.protocol import CERTIFICATE_NAMES
from service.rest.schemas import Parameters, Template, UpdateSequenceStep, malformed, parse_body, parse_query, render

MAX_REQUEST_BYTES: Final = 3 * MAX_BODY_BYTES + 1024 * 1024
"""Longest body of a request that is read: JSON's escapes make up to three bytes of one, and the rest is short."""

JSON: Final = "application/json"

# A body from here on is parsed in a thread, so that other calls go on between the steps of that.
_LONG_BODY_BYTES: Final = 512 * 1024

# How much of a refused request is read, so that its client gets the response and not a reset of the connection.
_MAX_DISCARDED_BYTES: Final = MAX_REQUEST_BYTES
_DISCARD_SECONDS: Final = 2.0

# What proxies log for a client that left; nobody receives it.
_CLIENT_CLOSED_REQUEST: Final = TransportStatus(http=499)

# What the OpenAPI document says of parameters. The rules themselves are those of every server, in `service.api.metadata` and
# `service.domain.validation`.
_ID: Final[dict[str, Any]] = {
    "minLength": 1,
    "maxLength": MAX_ID_CHARACTERS,
    "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._~-]+$",
}
_ID_OR_NONE: Final = _ID | {"minLength": 0, "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._~-]*$"}
_CHANGE_ID: Final[dict[str, Any]] = {"format": "uuid"}
_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}
_HEADER: Final[dict[str, Any]] = {"minLength": 1, "maxLength": 255, "pattern": r"^[ -~]*[!-~][ -~]*$"}


def step_update(
    sequence_id: Annotated[str, Path(description="The provider's id of the sequence.", json_schema_extra=_ID)],
    sequence_step_id: Annotated[str, Path(description="The provider's id of the step.", json_schema_extra=_ID)],
    x_customer_id: Annotated[str, Header(description="Your own id of the customer.", json_schema_extra=_HEADER)],
    x_provider_name: Annotated[
        InstanceOf[Provider],
        WithJsonSchema({"type": "string", "enum": list(providers())}),
        Header(description="The provider's name."),
    ],
    body: UpdateSequenceStep,
    x_request_id: Annotated[  # noqa: ARG001  # named for the OpenAPI document; it is no part of the update
        str | MISSING,
        Header(description="Comes back in the response and is logged; made when absent.", json_schema_extra=_HEADER),
    ] = MISSING,
    *,
    validate_only: Annotated[
        bool, Query(description="Do everything but the write: the response tells what would change.")
    ] = False,
    etag: Annotated[
        str, Query(description="Write only over what this stands for: the `etag` of an earlier answer about the step.")
    ] = "",
    if_shared: Annotated[
        Literal["IF_SHARED_UNSPECIFIED", "IF_SHARED_CHANGE", "IF_SHARED_REFUSE"],
        Query(
            description="What to do where other steps use the template; it is changed for all of them unless refused."
        ),
    ] = "IF_SHARED_UNSPECIFIED",
    variant: Annotated[
        str,
        Query(description="The template of the variant to change; the first variant that is live if it is not given."),
    ] = "",
) -> StepUpdate:
    """The update that a request asks for; its signature describes the request in the OpenAPI document."""
    record = body.record
    template = Template() if record.template is MISSING else record.template
    return StepUpdate(
        provider=x_provider_name,
        customer_id=x_customer_id,
        sequence_id=sequence_id,
        sequence_step_id=sequence_step_id,
        subject=None if template.subject is MISSING else template.subject,
        body=None if template.body is MISSING else template.body,
        custom_fields={} if record.custom_fields is MISSING else record.custom_fields,
        validate_only=validate_only,
        etag=etag,
        refuse_shared=if_shared == "IF_SHARED_REFUSE",
        variant=variant,
    )


_View: TypeAlias = Literal["STEP_VIEW_UNSPECIFIED", "STEP_VIEW_BASIC", "STEP_VIEW_FULL"]


def step_query(
    sequence_id: Annotated[str, Path(description="The provider's id of the sequence.", json_schema_extra=_ID)],
    sequence_step_id: Annotated[str, Path(description="The provider's id of the step.", json_schema_extra=_ID)],
    x_customer_id: Annotated[str, Header(description="Your own id of the customer.", json_schema_extra=_HEADER)],
    x_provider_name: Annotated[
        InstanceOf[Provider],
        WithJsonSchema({"type": "string", "enum": list(providers())}),
        Header(description="The provider's name."),
    ],
    x_request_id: Annotated[  # noqa: ARG001  # named for the OpenAPI document
        str | MISSING,
        Header(description="Comes back in the response and is logged; made when absent.", json_schema_extra=_HEADER),
    ] = MISSING,
    *,
    view: Annotated[_View, Query(description="Whether with bodies; with them unless given.")] = "STEP_VIEW_UNSPECIFIED",
    with_sharing: Annotated[
        bool, Query(description="Find all steps that use its templates, at the cost of one more call at Outreach.")
    ] = False,
) -> StepQuery:
    """The step that a request asks for; its signature describes the request in the OpenAPI document."""
    return StepQuery(
        x_provider_name,
        x_customer_id,
        sequence_id,
        sequence_step_id,
        with_bodies=view != "STEP_VIEW_BASIC",
        with_sharing=with_sharing,
    )


def steps_query(
    sequence_id: Annotated[str, Path(description="The provider's id of the sequence.", json_schema_extra=_ID)],
    x_customer_id: Annotated[str, Header(description="Your own id of the customer.", json_schema_extra=_HEADER)],
    x_provider_name: Annotated[
        InstanceOf[Provider],
        WithJsonSchema({"type": "string", "enum": list(providers())}),
        Header(description="The provider's name."),
    ],
    x_request_id: Annotated[  # noqa: ARG001  # named for the OpenAPI document
        str | MISSING,
        Header(description="Comes back in the response and is logged; made when absent.", json_schema_extra=_HEADER),
    ] = MISSING,
    *,
    view: Annotated[
        _View, Query(description="Whether with bodies; without them unless given.")
    ] = "STEP_VIEW_UNSPECIFIED",
) -> StepQuery:
    """The steps that a request asks for; its signature describes the request in the OpenAPI document."""
    with_bodies = view == "STEP_VIEW_FULL"
    return StepQuery(x_provider_name, x_customer_id, sequence_id, "", names_step=False, with_bodies=with_bodies)


def changes_query(
    x_customer_id: Annotated[str, Header(description="Your own id of the customer.", json_schema_extra=_HEADER)],
    x_provider_name: Annotated[
        InstanceOf[Provider],
        WithJsonSchema({"type": "string", "enum": list(providers())}),
        Header(description="The provider's name."),
    ],
    x_request_id: Annotated[  # noqa: ARG001  # named for the OpenAPI document
        str | MISSING,
        Header(description="Comes back in the response and is logged; made when absent.", json_schema_extra=_HEADER),
    ] = MISSING,
    *,
    sequence_id: Annotated[
        str, Query(description="Only the changes of this sequence.", json_schema_extra=_ID_OR_NONE)
    ] = "",
    sequence_step_id: Annotated[
        str, Query(description="Only the changes of this step; needs `sequence_id`.", json_schema_extra=_ID_OR_NONE)
    ] = "",
    request_id: Annotated[str, Query(description="Only the changes that calls with this id made.")] = "",
    start_time: Annotated[
        float | None, WithJsonSchema(_TIME), Query(description="Only the changes from this time on.")
    ] = None,
    end_time: Annotated[
        float | None, WithJsonSchema(_TIME), Query(description="Only the changes before this time.")
    ] = None,
    page_size: Annotated[
        int, Query(ge=0, le=999_999_999, description="How many a page may have, 200 at most; 50 where it is 0.")
    ] = 0,
    page_token: Annotated[str, Query(description="The `next_page_token` of the page before.")] = "",
) -> ChangesQuery:
    """The changes that a request asks for; its signature describes the request in the OpenAPI document."""
    return ChangesQuery(
        x_provider_name,
        x_customer_id,
        sequence_id,
        sequence_step_id,
        request_id=request_id,
        start_at=start_time,
        end_at=end_time,
        page_size=page_size,
        page_token=page_token,
    )


def change_ref(
    change_id: Annotated[str, Path(description="The id of the change.", json_schema_extra=_CHANGE_ID)],
    x_customer_id: Annotated[str, Header(description="Your own id of the customer.", json_schema_extra=_HEADER)],
    x_provider_name: Annotated[
        InstanceOf[Provider],
        WithJsonSchema({"type": "string", "enum": list(providers())}),
        Header(description="The provider's name."),
    ],
    x_request_id: Annotated[  # noqa: ARG001  # named for the OpenAPI document
        str | MISSING,
        Header(description="Comes back in the response and is logged; made when absent.", json_schema_extra=_HEADER),
    ] = MISSING,
) -> ChangeRef:
    """The change that a request asks for; its signature describes the request in the OpenAPI document."""
    return ChangeRef(x_provider_name, x_customer_id, change_id)


def change_revert(
    change_id: Annotated[str, Path(description="The id of the change.", json_schema_extra=_CHANGE_ID)],
    x_customer_id: Annotated[str, Header(description="Your own id of the customer.", json_schema_extra=_HEADER)],
    x_provider_name: Annotated[
        InstanceOf[Provider],
        WithJsonSchema({"type": "string", "enum": list(providers())}),
        Header(description="The provider's name."),
    ],
    x_request_id: Annotated[  # noqa: ARG001  # named for the OpenAPI document; the handler knows it
        str | MISSING,
        Header(description="Comes back in the response and is logged; made when absent.", json_schema_extra=_HEADER),
    ] = MISSING,
    *,
    validate_only: Annotated[
        bool, Query(description="Do everything but the write: the response tells what would be set back.")
    ] = False,
    overwrite: Annotated[bool, Query(description="Write over whatever the provider holds by now.")] = False,
    if_shared: Annotated[
        Literal["IF_SHARED_UNSPECIFIED", "IF_SHARED_CHANGE", "IF_SHARED_REFUSE"],
        Query(
            description="What to do where other steps use the template; it is changed for all of them unless refused."
        ),
    ] = "IF_SHARED_UNSPECIFIED",
) -> ChangeRevert:
    """The change that a request wants taken back; its signature describes the request in the OpenAPI document."""
    return ChangeRevert(
        x_provider_name,
        x_customer_id,
        change_id,
        validate_only=validate_only,
        overwrite=overwrite,
        refuse_shared=if_shared == "IF_SHARED_REFUSE",
    )


class HttpCall:
    """A call as HTTP brings it; `service.api.call_handler.InboundCall` says what each method promises."""

    def __init__(
        self, request: Request, parse: Callable[..., Asked], parameters: Parameters, *, has_body: bool
    ) -> None:
        """Takes the request.

        Args:
            request: The request, unread.
            parse: Makes what it asks for of its path, its query, its headers and its body.
            parameters: The parameters that its query can have.
            has_body: Whether its body says something.
        """
        self._request = request
        self._parse = parse
        self._parameters = parameters
        self._has_body = has_body
        self._read = False
        self._disconnect_watch: asyncio.Task[None] | None = None

    def metadata_pairs(self) -> metadata.MetadataPairs:
        """The headers."""
        # Over HTTP the status says how a call failed, so the mode has no meaning.
        return [
            (name, value)
            for raw, value in self._request.headers.raw
            if (name := raw.decode("latin-1")) != contract.ERROR_MODE
        ]

    def time_remaining(self) -> float | None:
        """None: HTTP has no deadlines."""
        return None

    def certificate_names(self) -> Sequence[str]:
        """The names in the client's certificate."""
        names: Sequence[str] = self._request.scope["state"].get(CERTIFICATE_NAMES, ())
        return names

    def peer(self) -> str:
        """The address that the request came from."""
        client = self._request.client
        return f"{client.host}:{client.port}" if client is not None else ""

    async def read_request(self, call_metadata: metadata.CallMetadata, deadline: Deadline) -> Asked:
        """Reads and checks the request; from its end on, a client that leaves cancels the call.

        Raises:
            CallRefused: It is not as the OpenAPI document says.
            CallerGone: The client left before its end.
        """
        request = self._request
        given = parse_query(request.query_params.multi_items(), self._parameters)
        if self._has_body:
            _check_content_headers(request)
        try:
            async with asyncio.timeout(deadline.remaining()):
                data = await self._read_body()
        except TimeoutError:
            raise malformed("The body did not arrive in time.") from None
        if self._has_body:
            given["body"] = (
                parse_body(data) if len(data) < _LONG_BODY_BYTES else await asyncio.to_thread(parse_body, data)
            )
        asked = self._parse(
            **request.path_params,
            x_customer_id=call_metadata.customer_id,
            x_provider_name=call_metadata.provider,
            **given,
        )
        self._disconnect_watch = asyncio.create_task(self._cancel_on_disconnect(asyncio.current_task()))
        return asked

    def transport_status(self, outcome: CallOutcome | None) -> TransportStatus:
        """The status of the response; 499 if the client has left."""
        return _CLIENT_CLOSED_REQUEST if outcome is None else TransportStatus(http=_status(outcome))

    async def respond(self, outcome: CallOutcome) -> Response:
        """The response that tells how the call ended."""
        headers = {contract.REQUEST_ID: outcome.request_id, "content-type": JSON, "cache-control": "no-store"}
        if outcome.problem is not None and outcome.problem.retry_after is not None:
            headers["retry-after"] = str(math.ceil(outcome.problem.retry_after))
        await self._discard_body()
        if not self._read:
            headers["connection"] = "close"
        return Response(render(outcome.response), _status(outcome), headers)

    def close(self) -> None:
        """Stops waiting for the client to leave."""
        if self._disconnect_watch is not None:
            self._disconnect_watch.cancel()

    async def _read_body(self) -> bytes:
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
                raise _too_long()
            parts.append(part)
            if not message["more_body"]:
                self._read = True
                return b"".join(parts)

    async def _discard_body(self) -> None:
        """Reads what is left of a request that was refused before its end."""
        left = _MAX_DISCARDED_BYTES
        try:
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not self._read and left > 0:
                    message = await self._request.receive()
                    left -= len(message.get("body", b""))
                    self._read = message["type"] == "http.disconnect" or not message["more_body"]
        except TimeoutError:
            pass

    async def _cancel_on_disconnect(self, work: "asyncio.Task[Any] | None") -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        if work is not None:
            work.cancel()


def _check_content_headers(request: Request) -> None:
    """Refuses a body that does not say it is JSON.

    Raises:
        CallRefused: It says something else, or that it is compressed, or that it is too long.
    """
    media_type, *parameters = (part.strip() for part in request.headers.get("content-type", "").lower().split(";"))
    named = [(name.strip(), value.strip(' "')) for name, _, value in (each.partition("=") for each in parameters)]
    charsets = {value for name, value in named if name == "charset"}
    if media_type != JSON or charsets - {"utf-8", "utf8"}:
        raise malformed(f"The body has to be JSON in UTF-8; send it as `content-type: {JSON}`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise malformed("The body must not be compressed.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_REQUEST_BYTES:
        raise _too_long()


def _too_long() -> CallRefused:
    return malformed(f"The body is longer than {MAX_REQUEST_BYTES // 1024 // 1024} MiB.")


def _status(outcome: CallOutcome) -> int:
    return 200 if outcome.problem is None else CODES[outcome.problem.code].http_status
