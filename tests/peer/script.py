"""What the peer does with each attempt of a call, as vectors say it in JSON; README.md explains the members."""

import base64
import gzip
from typing import Any, Final, Literal

import msgspec
from engagement.v1 import connection_service_pb2, sequence_step_service_pb2
from google.protobuf import any_pb2, json_format, message_factory, symbol_database
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

Headers = list[tuple[str, str]]

_FILES: Final = (sequence_step_service_pb2.DESCRIPTOR, connection_service_pb2.DESCRIPTOR)
RESPONSES: Final[dict[str, type[Message]]] = {
    f"/{service.full_name}/{method.name}": message_factory.GetMessageClass(method.output_type)
    for file in _FILES
    for service in file.services_by_name.values()
    for method in service.methods
}
"""The response of each method, by its path."""

GRPC_HEADERS: Final = ((":status", "200"), ("content-type", "application/grpc"))

# Found by their names in the details of a status.
_KNOWN: Final = (error_details_pb2.BadRequest, error_details_pb2.RetryInfo, error_details_pb2.ErrorInfo)


class Detail(msgspec.Struct, forbid_unknown_fields=True):
    """One of the details of a status.

    Attributes:
        type: Its message, such as `engagement.v1.UpdateStepResponse`; one that is not known here has a `hex` alone.
        value: The message in its JSON mapping.
        hex: Bytes that come after those of `value`.
    """

    type: str
    value: dict[str, Any] = {}
    hex: str = ""

    def packed(self) -> any_pb2.Any:
        """The same in an `Any`."""
        message = b""
        if self.value:
            kind = symbol_database.Default().GetSymbol(self.type)
            message = json_format.ParseDict(self.value, kind()).SerializeToString()
        return any_pb2.Any(type_url=f"type.googleapis.com/{self.type}", value=message + bytes.fromhex(self.hex))


class Attempt(msgspec.Struct, forbid_unknown_fields=True):
    """What is done with one attempt; by default it gets an empty response and OK.

    Attributes:
        at: Whether to act when the request has come as a whole, or as soon as its headers have.
        require: What metadata has to hold, by key: a part of the value. An attempt without it ends with FAILED_PRECONDITION.
        wait_seconds: How long to wait first.
        hang: Do nothing more.
        goaway: Send GOAWAY, for `this` stream as one that is not begun, or for those `after` it.
        headers: The response headers, gRPC's own unless given.
        trailers_only: Send no headers before the trailers.
        text: Data that is no message.
        message: The response in its JSON mapping; None for no message.
        message_hex: Bytes that come after those of the message.
        message_bytes: How long a text the response's one change has.
        after_hex: Bytes that come after the message.
        cut: How many bytes are missing at the end of the message.
        gzip: Compress the message: where the caller takes that, always with `forced`, and without saying so with `unannounced`.
        reset: End the stream by RST_STREAM with this error code.
        close: Close the connection.
        status: The gRPC status; None for no `grpc-status`.
        status_message: Its message.
        details: Its details.
        details_code: The status that the details are about, if it is another one.
        details_hex: Bytes that are sent in the place of the details.
        trailers: More trailers.
        no_trailers: End the stream with the data.
    """

    at: Literal["headers", "end"] = "end"
    require: dict[str, str] = {}
    wait_seconds: float = 0
    hang: bool = False
    goaway: Literal["this", "after"] | None = None
    headers: Headers | None = None
    trailers_only: bool = False
    text: str = ""
    message: dict[str, Any] | None = {}
    message_hex: str = ""
    message_bytes: int = 0
    after_hex: str = ""
    cut: int = 0
    gzip: Literal["accepted", "forced", "unannounced"] | None = None
    reset: str | None = None
    close: bool = False
    status: str | None = "OK"
    status_message: str = ""
    details: list[Detail] | None = None
    details_code: str | None = None
    details_hex: str = ""
    trailers: Headers = []
    no_trailers: bool = False

    def unmet(self, metadata: dict[str, str]) -> str:
        """Says which of the required metadata is not there; empty if all is."""
        return "; ".join(
            f"{key} is {metadata.get(key)!r}"
            for key, part in self.require.items()
            if key not in metadata or part not in metadata[key]
        )

    def response_headers(self, metadata: dict[str, str]) -> Headers:
        """The headers that come before the message."""
        encoding = [("grpc-encoding", "gzip")] if self._compresses(metadata) and self.gzip != "unannounced" else []
        return [*(GRPC_HEADERS if self.headers is None else self.headers), *encoding]

    def data(self, path: str, metadata: dict[str, str]) -> bytes:
        """What comes as DATA."""
        after = bytes.fromhex(self.after_hex)
        if self.message is None or self.status != "OK":
            return self.text.encode() + after
        response: Any = json_format.ParseDict(self.message, RESPONSES[path]())
        if self.message_bytes:
            response.changes.add(field="template.body").after.string_value = "x" * self.message_bytes
        message: bytes = response.SerializeToString() + bytes.fromhex(self.message_hex)
        compresses = self._compresses(metadata)
        if compresses:
            message = gzip.compress(message)
        framed = bytes([compresses]) + len(message).to_bytes(4, "big") + message
        return self.text.encode() + framed[: len(framed) - self.cut] + after

    def _compresses(self, metadata: dict[str, str]) -> bool:
        takes = "gzip" in metadata.get("grpc-accept-encoding", "")
        return self.gzip in ("forced", "unannounced") or (self.gzip == "accepted" and takes)

    def response_trailers(self) -> Headers:
        """The trailers."""
        trailers = [("grpc-status", str(code_pb2.Code.Value(self.status)))] if self.status is not None else []
        if self.status_message:
            trailers.append(("grpc-message", self.status_message))
        details = bytes.fromhex(self.details_hex)
        if self.details is not None:
            code = self.details_code or self.status or "OK"
            status = status_pb2.Status(code=code_pb2.Code.Value(code), message=self.status_message)
            status.details.extend(detail.packed() for detail in self.details)
            details += status.SerializeToString()
        if details:
            trailers.append(("grpc-status-details-bin", base64.b64encode(details).decode().rstrip("=")))
        return [*trailers, *self.trailers]


class Script(msgspec.Struct, forbid_unknown_fields=True):
    """What is done with the attempts, in the order in which they come; with all that follow as with the last."""

    attempts: list[Attempt] = msgspec.field(default_factory=lambda: [Attempt()])
