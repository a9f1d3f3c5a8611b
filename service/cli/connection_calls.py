"""Calls `ConnectionService` for `seqstep connection` and `seqstep history delete`, where a service does it."""

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
import typer
from engagement.v1 import connection_service_pb2 as pb
from engagement.v1.connection_service_pb2_grpc import ConnectionServiceStub
from google.protobuf import json_format
from google.protobuf.message import Message

from seqstep_client import ApiKey, InvalidArgument, Tls, details_of, open_aio_channel
from service.cli import output
from service.cli.errors import print_error
from service.cli.grpc_call import Exit
from service.domain.credentials import ApiKeyCredentials, Credentials
from service.domain.step import Provider

M = TypeVar("M", bound=Message)

_PAGE = 1_000
_STATES = {pb.CONNECTION_STATE_ACTIVE: "active", pb.CONNECTION_STATE_NEEDS_REAUTH: "needs_reauth"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Where a service is, and who calls.

    Attributes:
        address: Where the service is.
        api_key: A key that may manage connections; None where a client certificate stands for it.
        tls: The TLS files; None for plaintext.
        timeout: Seconds that a call may take.
    """

    address: str
    api_key: str | None
    tls: Tls | None
    timeout: float


def set_connection(options: ServiceOptions, customer: str, provider: Provider, credentials: Credentials) -> bool:
    """Stores credentials; returns whether they were stored, and not the ones that were set last."""
    request = pb.SetConnectionRequest(customer_id=customer, provider_name=provider)
    if isinstance(credentials, ApiKeyCredentials):
        request.api_key = credentials.api_key.reveal()
    else:
        request.oauth.MergeFrom(
            pb.OAuthCredentials(
                access_token=credentials.access_token.reveal(),
                refresh_token=credentials.refresh_token.reveal() if credentials.refresh_token else "",
                client_id=credentials.client_id,
                client_secret=credentials.client_secret.reveal(),
                redirect_uri=credentials.redirect_uri,
                scopes=credentials.scope.split(),
            )
        )
        if credentials.expires_at is not None:
            request.oauth.expire_time.FromMilliseconds(round(credentials.expires_at * 1000))
    return _call(options, request, pb.SetConnectionResponse).changed


def get_connection(options: ServiceOptions, customer: str, provider: Provider) -> pb.Connection:
    """Reads a connection; one that there is not ends the command."""
    request = pb.GetConnectionRequest(customer_id=customer, provider_name=provider)
    return _call(options, request, pb.GetConnectionResponse).connection


def list_connections(options: ServiceOptions, customer: str | None) -> list[pb.Connection]:
    """Lists all connections, or those of one customer."""
    found: list[pb.Connection] = []
    request = pb.ListConnectionsRequest(customer_id=customer or "", page_size=_PAGE)
    while True:
        page = _call(options, request, pb.ListConnectionsResponse)
        found += page.connections
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def check_connection(options: ServiceOptions, customer: str, provider: Provider) -> list[str]:
    """Tries a connection; returns what is wrong with it."""
    request = pb.CheckConnectionRequest(customer_id=customer, provider_name=provider)
    return [error.detail for error in _call(options, request, pb.CheckConnectionResponse).errors]


def delete_connection(options: ServiceOptions, customer: str, provider: Provider) -> bool:
    """Deletes a connection; returns whether there was one."""
    request = pb.DeleteConnectionRequest(customer_id=customer, provider_name=provider)
    return _call(options, request, pb.DeleteConnectionResponse).deleted


def delete_step_changes(options: ServiceOptions, customer: str, provider: Provider | None) -> int:
    """Deletes the history of a customer; returns how many changes that were."""
    request = pb.DeleteStepChangesRequest(customer_id=customer, provider_name=provider or "")
    return _call(options, request, pb.DeleteStepChangesResponse).deleted_count


def print_connections(found: list[pb.Connection], *, as_json: bool) -> None:
    """Prints connections: a table, or JSON by the protobuf mapping."""
    if as_json:
        output.print_json([json_format.MessageToDict(each, preserving_proto_field_name=True) for each in found])
        return
    output.print_table(
        "Connections",
        ("customer", "provider", "state", "since", "last success", "why"),
        [
            (
                output.escape(each.customer_id),
                each.provider_name,
                _STATES.get(each.state, "not known"),
                _time(each, "state_time"),
                _time(each, "last_success_time"),
                output.escape(each.state_reason),
            )
            for each in found
        ],
    )


def _time(connection: pb.Connection, field: str) -> str:
    seconds = getattr(connection, field).ToSeconds() if connection.HasField(cast("Any", field)) else None
    return output.format_time(seconds)


def _call(options: ServiceOptions, request: Message, response_type: type[M]) -> M:
    """Makes a call; a failure is printed and ends the command with the exit status of its outcome."""
    try:
        response: M = asyncio.run(_answer(options, request))
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from None
    except grpc.aio.AioRpcError as error:
        details = details_of(error, response_type)
        violations = details.bad_request.field_violations if details.bad_request is not None else ()
        lines = [f"{each.field}: {each.description}" for each in violations] or [error.details() or error.code().name]
        print_error(output.escape(" ".join(lines)))
        outcome = details.error_info.metadata["outcome"] if details.error_info is not None else ""
        raise typer.Exit(Exit.NOT_APPLIED if outcome == "ERROR_OUTCOME_NOT_APPLIED" else Exit.UNKNOWN) from None
    return response


async def _answer(options: ServiceOptions, request: Message) -> Any:
    plaintext = options.tls is None
    key = ApiKey.of(options.api_key, options.address, plaintext=plaintext, in_clear=True)
    err = output.console(stderr=True)
    async with open_aio_channel(options.address, tls=options.tls, plaintext=plaintext) as channel:
        method = getattr(ConnectionServiceStub(channel), type(request).__name__.removesuffix("Request"))
        call = method(request, metadata=key.metadata, credentials=key.credentials, timeout=options.timeout)
        if not err.is_terminal:
            return await call
        with err.status(f"Waiting for {options.address} …"):
            return await call
