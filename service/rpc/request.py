"""A call as gRPC brings it, and the update that its request asks for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from operator import itemgetter
from typing import Any, Final

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf.message import DecodeError

from service.api import metadata
from service.api.call_handler import CallerGone, CallOutcome, TransportStatus
from service.api.value import to_json, unrepresentable
from service.domain.certificate_names import certificate_names
from service.domain.deadline import Deadline
from service.domain.errors import CODES, CallRefused, ErrorCode, Problem, Violation, invalid
from service.domain.step import CUSTOM_FIELDS, Provider, StepUpdate

_OK: Final = TransportStatus(grpc="OK")
_CANCELLED: Final = TransportStatus(grpc="CANCELLED")


class GrpcCall:
    """A call as gRPC brings it; `service.api.call_handler.InboundCall` says what each method promises."""

    __slots__ = ("_context", "_requests")

    def __init__(
        self,
        requests: AsyncIterator[pb.UpdateStepRequest],
        context: grpc.aio.ServicerContext[pb.UpdateStepRequest, pb.UpdateStepResponse],
    ) -> None:
        self._requests = requests
        self._context = context

    def metadata_pairs(self) -> metadata.MetadataPairs:
        """The invocation metadata."""
        pairs: Any = self._context.invocation_metadata() or ()
        return pairs  # type: ignore[no-any-return]  # the stubs know another class

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline."""
        return self._context.time_remaining()

    def certificate_names(self) -> Sequence[str]:
        """The names in the client's certificate."""
        # gRPC's own lists of names do not show their types, and end each name at its first zero byte.
        [certificate] = self._context.auth_context().get("x509_pem_cert") or (b"",)
        return certificate_names(certificate) if certificate else ()

    async def read_update(self, call_metadata: metadata.CallMetadata, deadline: Deadline) -> StepUpdate:
        """Receives and decodes the request.

        Raises:
            CallRefused: It is no request, or did not arrive in time.
            CallerGone: The call ended without one.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                request = await anext(self._requests)
        except DecodeError:
            raise undecodable() from None
        except TimeoutError:
            raise CallRefused(
                Problem(
                    ErrorCode.GATEWAY_TIMEOUT_ERROR,
                    "The request did not arrive before the deadline of the call; set a longer one.",
                )
            ) from None
        except StopAsyncIteration:
            raise CallerGone from None
        return step_update(request, call_metadata.provider, call_metadata.customer_id)

    def transport_status(self, outcome: CallOutcome | None) -> TransportStatus:
        """The gRPC status."""
        if outcome is None:
            return _CANCELLED
        if outcome.problem is None or not ends_with_status(outcome):
            return _OK
        return TransportStatus(grpc=CODES[outcome.problem.code].grpc_status)


def ends_with_status(outcome: CallOutcome) -> bool:
    """Whether a failure ends the call with a non-OK status, rather than with an envelope."""
    return outcome.refused or outcome.error_mode is metadata.ErrorMode.STATUS


def step_update(request: pb.UpdateStepRequest, provider: Provider, customer_id: str) -> StepUpdate:
    """The update that a request asks for.

    Raises:
        CallRefused: It has no record, or a number that JSON does not have.
    """
    if not request.HasField("record"):
        raise invalid([Violation("record", "Required: the values to set; an empty one changes nothing.")])
    record = request.record
    template = record.template
    # A protobuf map has no order. One that is always the same makes equal calls send equal requests.
    fields = {key: to_json(value) for key, value in sorted(record.custom_fields.fields.items(), key=itemgetter(0))}
    violations = [Violation(path, rule) for path, rule in unrepresentable(fields, f"record.{CUSTOM_FIELDS}")]
    if violations:
        raise invalid(violations)
    return StepUpdate(
        provider=provider,
        customer_id=customer_id,
        sequence_id=request.sequence_id,
        sequence_step_id=request.sequence_step_id,
        subject=template.subject if template.HasField("subject") else None,
        body=template.body if template.HasField("body") else None,
        custom_fields=fields,
        validate_only=request.validate_only,
    )


def undecodable() -> CallRefused:
    """The refusal of bytes that are no request."""
    return invalid([Violation("request", "Is not an engagement.v1.UpdateStepRequest, or is nested too deeply.")])
