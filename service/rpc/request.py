"""A call as gRPC brings it, and what its request asks for."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import grpc
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from service.api import metadata
from service.api.call_handler import Asked, CallerGone, CallOutcome, TransportStatus
from service.api.methods import (
    GET_STEP,
    GET_STEP_CHANGE,
    LIST_STEP_CHANGES,
    LIST_STEPS,
    REVERT_STEP_CHANGE,
    UPDATE_STEP,
)
from service.api.value import TooManyValues, struct_to_json, unrepresentable
from service.domain.certificate_names import certificate_names
from service.domain.deadline import Deadline
from service.domain.errors import MAX_VIOLATIONS, CallRefused, ErrorCode, Problem, Violation, invalid
from service.domain.json_value import JsonValue
from service.domain.sequence import StepQuery
from service.domain.step import CUSTOM_FIELDS, Provider, StepUpdate
from service.domain.step_changes import ChangeRef, ChangeRevert, ChangesQuery
from service.domain.validation import CUSTOM_FIELDS_TOO_LONG, MAX_CUSTOM_FIELDS_BYTES
from service.rpc.status import status_name

# What 64 KiB of JSON can be in protobuf: `0,` is 2 bytes there, and 11 here; and how many values it can have.
_MAX_STRUCT_BYTES: Final = 6 * MAX_CUSTOM_FIELDS_BYTES
_MAX_VALUES: Final = MAX_CUSTOM_FIELDS_BYTES // 2
# A message may give its parts in pieces, which protobuf joins; no encoder does so.
_MAX_PIECES: Final = 64

_IF_SHARED: Final = frozenset(pb.IfShared.values())


def _unparsed_request() -> type[Message]:
    """Makes the class of requests whose custom fields are left as bytes, so that their size is known before their cost."""
    file = descriptor_pb2.FileDescriptorProto(
        name="seqstep/unparsed_request.proto", package="seqstep.unparsed", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    record = file.message_type.add(name="Record")
    record.field.add(name="custom_fields", number=2, label=field.LABEL_REPEATED, type=field.TYPE_BYTES)
    request = file.message_type.add(name="Request")
    request.field.add(
        name="record",
        number=3,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=".seqstep.unparsed.Record",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("seqstep.unparsed.Request"))


_UnparsedRequest: Final[Any] = _unparsed_request()


def decode_request(data: bytes) -> pb.UpdateStepRequest:
    """Decodes a request, whose custom fields are parsed only if they are not far too long.

    Raises:
        CallRefused: The bytes are no request, or its custom fields are too long.
    """
    try:
        pieces = _UnparsedRequest.FromString(data).record.custom_fields
        if len(pieces) > _MAX_PIECES or sum(map(len, pieces)) > _MAX_STRUCT_BYTES:
            raise invalid([CUSTOM_FIELDS_TOO_LONG])
        return pb.UpdateStepRequest.FromString(data)
    except DecodeError:
        raise invalid(
            [Violation("request", "Is not an engagement.v1.UpdateStepRequest, or is nested too deeply.")]
        ) from None


def decoder(kind: type[Message]) -> Callable[[bytes], Message]:
    """What decodes requests of a kind, and raises `CallRefused` for bytes that are none."""

    def decode(data: bytes) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError:
            raise invalid([Violation("request", f"Is not an {kind.DESCRIPTOR.full_name}.")]) from None

    return decode


DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    UPDATE_STEP.name: decode_request,
    GET_STEP.name: decoder(pb.GetStepRequest),
    LIST_STEPS.name: decoder(pb.ListStepsRequest),
    LIST_STEP_CHANGES.name: decoder(pb.ListStepChangesRequest),
    GET_STEP_CHANGE.name: decoder(pb.GetStepChangeRequest),
    REVERT_STEP_CHANGE.name: decoder(pb.RevertStepChangeRequest),
}
"""What decodes the requests of each method."""

Parse: TypeAlias = Callable[[Any, Provider, str], Asked]
"""Makes what a request asks for of it, of the provider and of the customer."""


class InboundGrpcCall:
    """A call as gRPC brings it; `service.api.call_handler.InboundCall` says what each method promises."""

    __slots__ = ("_context",)

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context

    def metadata_pairs(self) -> metadata.MetadataPairs:
        """The invocation metadata."""
        pairs: Any = self._context.invocation_metadata() or ()
        return pairs  # type: ignore[no-any-return]  # the stubs know another class

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline."""
        return self._context.time_remaining()

    async def receive(self) -> Any:
        """Receives and decodes the request; None if the call ended without one.

        Raises:
            CallRefused: It is no request.
        """
        # Not by the iterator that the method is given, which would be three more coroutines and a generator.
        request: Any = await self._context.read()
        return None if request is grpc.aio.EOF else request

    def certificate_names(self) -> Sequence[str]:
        """The names in the client's certificate."""
        # gRPC's own lists of names do not show their types, and end each name at its first zero byte.
        [certificate] = self._context.auth_context().get("x509_pem_cert") or (b"",)
        return certificate_names(certificate) if certificate else ()

    def peer(self) -> str:
        """The address that the call came from."""
        return unquote(self._context.peer()).partition(":")[2]


class GrpcCall(InboundGrpcCall):
    """A call on steps as gRPC brings it."""

    __slots__ = ("_parse",)

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], parse: Parse) -> None:
        super().__init__(context)
        self._parse = parse

    async def read_request(self, call_metadata: metadata.CallMetadata, deadline: Deadline) -> Asked:
        """Receives and decodes the request.

        Raises:
            CallRefused: It is no request, or did not arrive in time.
            CallerGone: The call ended without one.
        """
        try:
            async with asyncio.timeout(deadline.remaining()):
                request = await self.receive()
        except TimeoutError:
            raise CallRefused(
                Problem(
                    ErrorCode.GATEWAY_TIMEOUT_ERROR,
                    "The request did not arrive before the deadline of the call; set a longer one.",
                )
            ) from None
        if request is None:
            raise CallerGone
        return self._parse(request, call_metadata.provider, call_metadata.customer_id)

    def transport_status(self, outcome: CallOutcome | None) -> TransportStatus:
        """The gRPC status."""
        return TransportStatus(grpc="CANCELLED" if outcome is None else status_name(outcome))


def step_update(request: pb.UpdateStepRequest, provider: Provider, customer_id: str) -> StepUpdate:
    """The update that a request asks for.

    Raises:
        CallRefused: It has no record, a field that is not known here, or a number that JSON does not have.
    """
    record = request.record
    if (
        len(UnknownFieldSet(request))
        or len(UnknownFieldSet(record))
        or len(UnknownFieldSet(record.template))
        or request.if_shared not in _IF_SHARED
    ):
        raise invalid(
            [
                *unknown_fields(request, ""),
                *unknown_fields(record, "record."),
                *unknown_fields(record.template, "record.template."),
                *_unknown_value("if_shared", request.if_shared, _IF_SHARED),
            ]
        )
    if not request.HasField("record"):
        raise invalid([Violation("record", "Required: the values to set; an empty one changes nothing.")])
    template = record.template
    return StepUpdate(
        provider=provider,
        customer_id=customer_id,
        sequence_id=request.sequence_id,
        sequence_step_id=request.sequence_step_id,
        subject=template.subject if template.HasField("subject") else None,
        body=template.body if template.HasField("body") else None,
        custom_fields=_custom_fields(record.custom_fields) if record.HasField(CUSTOM_FIELDS) else {},
        validate_only=request.validate_only,
        etag=request.etag,
        refuse_shared=request.if_shared == pb.IF_SHARED_REFUSE,
        variant=request.variant,
    )


def _custom_fields(given: struct_pb2.Struct) -> dict[str, JsonValue]:
    try:
        fields, is_doubtful = struct_to_json(given, _MAX_VALUES)
    except TooManyValues:
        raise invalid([CUSTOM_FIELDS_TOO_LONG]) from None
    broken = unrepresentable(fields, f"record.{CUSTOM_FIELDS}", limit=MAX_VIOLATIONS + 1) if is_doubtful else ()
    if broken:
        raise invalid([Violation(path, rule) for path, rule in broken])
    return fields


def step_query(request: pb.GetStepRequest, provider: Provider, customer_id: str) -> StepQuery:
    """The step that a request asks for.

    Raises:
        CallRefused: It has a field or a value that is not known here.
    """
    _check_view(request)
    return StepQuery(
        provider,
        customer_id,
        request.sequence_id,
        request.sequence_step_id,
        with_bodies=request.view != pb.STEP_VIEW_BASIC,
        with_sharing=request.with_sharing,
    )


def steps_query(request: pb.ListStepsRequest, provider: Provider, customer_id: str) -> StepQuery:
    """The steps that a request asks for.

    Raises:
        CallRefused: It has a field or a value that is not known here.
    """
    _check_view(request)
    with_bodies = request.view == pb.STEP_VIEW_FULL
    return StepQuery(provider, customer_id, request.sequence_id, "", names_step=False, with_bodies=with_bodies)


def changes_query(request: pb.ListStepChangesRequest, provider: Provider, customer_id: str) -> ChangesQuery:
    """The changes that a request asks for.

    Raises:
        CallRefused: It has a field that is not known here.
    """
    unknown = [
        *unknown_fields(request, ""),
        *unknown_fields(request.start_time, "start_time."),
        *unknown_fields(request.end_time, "end_time."),
    ]
    if unknown:
        raise invalid(unknown)
    return ChangesQuery(
        provider,
        customer_id,
        request.sequence_id,
        request.sequence_step_id,
        request_id=request.request_id,
        start_at=_seconds(request.start_time) if request.HasField("start_time") else None,
        end_at=_seconds(request.end_time) if request.HasField("end_time") else None,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def change_ref(request: pb.GetStepChangeRequest, provider: Provider, customer_id: str) -> ChangeRef:
    """The change that a request asks for.

    Raises:
        CallRefused: It has a field that is not known here.
    """
    if unknown := unknown_fields(request, ""):
        raise invalid(unknown)
    return ChangeRef(provider, customer_id, request.change_id)


def change_revert(request: pb.RevertStepChangeRequest, provider: Provider, customer_id: str) -> ChangeRevert:
    """The change that a request wants taken back.

    Raises:
        CallRefused: It has a field or a value that is not known here.
    """
    unknown = [*unknown_fields(request, ""), *_unknown_value("if_shared", request.if_shared, _IF_SHARED)]
    if unknown:
        raise invalid(unknown)
    return ChangeRevert(
        provider,
        customer_id,
        request.change_id,
        validate_only=request.validate_only,
        overwrite=request.overwrite,
        refuse_shared=request.if_shared == pb.IF_SHARED_REFUSE,
    )


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9


def _check_view(request: pb.GetStepRequest | pb.ListStepsRequest) -> None:
    unknown = [*unknown_fields(request, ""), *_unknown_value("view", request.view, pb.StepView.values())]
    if unknown:
        raise invalid(unknown)


def _unknown_value(name: str, value: int, known: Collection[int]) -> list[Violation]:
    return [] if value in known else [Violation(name, "Is a value that this version of the service does not know.")]


def unknown_fields(message: Message, path: str) -> list[Violation]:
    """The fields of a message that this version of the contract does not have: they could say not to write."""
    fields: Any = UnknownFieldSet(message)  # the stubs do not know that it can be iterated
    return [
        Violation(f"{path}{field.field_number}", "Is a field that this version of the service does not know.")
        for field in fields
    ]
