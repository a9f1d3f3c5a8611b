"""Changes the subject of a step with the generated stubs alone, and tells the outcomes apart.

Against `make sandbox` and `make serve`:

    SEQSTEP_API_KEY="$(cat var/api-key)" .venv/bin/python clients/python/update_step.py [HOST:PORT [CA.pem]]
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from engagement.v1 import sequence_step_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

OUTCOMES = {
    envelope_pb2.ERROR_OUTCOME_NOT_APPLIED: "nothing was changed",
    envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED: (
        "some of it was changed, as listed; once the error is dealt with, repeating the call does the rest"
    ),
    envelope_pb2.ERROR_OUTCOME_UNKNOWN: "it may have been changed; repeating the call is safe and settles it",
}


@dataclass
class Details:
    """What the `google.rpc.Status` details of a failed call say; a message that did not come is empty."""

    response: pb.UpdateStepResponse = field(default_factory=pb.UpdateStepResponse)
    bad_request: error_details_pb2.BadRequest = field(default_factory=error_details_pb2.BadRequest)
    retry_info: error_details_pb2.RetryInfo = field(default_factory=error_details_pb2.RetryInfo)
    error_info: error_details_pb2.ErrorInfo = field(default_factory=error_details_pb2.ErrorInfo)


def open_channel(target: str, ca: str | None) -> grpc.Channel:
    """A channel with TLS that trusts the authorities in a PEM file, or a plaintext one."""
    if ca is None:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(Path(ca).read_bytes()))


def details_of(error: grpc.RpcError) -> Details:
    """The details of a status other than OK."""
    found = Details()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        for message in (found.response, found.bad_request, found.retry_info, found.error_info):
            detail.Unpack(message)  # fills the message if the detail is of its type
    return found


def show(response: pb.UpdateStepResponse) -> bool:
    """Prints what became of the update, and returns whether it succeeded."""
    for change in response.changes:
        print(f"{change.field} is now {change.after.string_value!r}")
    for warning in response.warnings:
        print(f"{warning.problem_type}: {warning.detail}")
    for error in response.errors:
        print(f"{error.code}: {error.detail}")
        print(f"  {OUTCOMES.get(error.meta.outcome, 'no outcome')}; request id {error.meta.request_id}")
        if error.meta.HasField("retry_after"):
            print(f"  repeat the call in {error.meta.retry_after.ToTimedelta().total_seconds():g} s")
        if error.meta.HasField("cause"):
            print(f"  the provider answered {error.meta.cause.code}")
    return not response.errors


def show_status(code: grpc.StatusCode, message: str | None, details: Details) -> bool:
    """Prints why a call ended with a status other than OK; it has never succeeded then."""
    print(f"{code.name}: {message}")
    for violation in details.bad_request.field_violations:
        print(f"  {violation.field}: {violation.description}")
    if not details.response.errors:
        # The service did not say it: the connection broke, or this side's deadline came first.
        print(f"  {OUTCOMES[envelope_pb2.ERROR_OUTCOME_UNKNOWN]}")
    return show(details.response)


def main(target: str = "127.0.0.1:50051", ca: str | None = None) -> int:
    request = pb.UpdateStepRequest(
        sequence_id="7",
        sequence_step_id="101",
        # What is not set stays as it is; an empty string would empty it.
        record=pb.SequenceStepRecord(template=pb.StepTemplate(subject="Hello {{first_name}}")),
    )
    metadata = (
        ("x-api-key", os.environ["SEQSTEP_API_KEY"]),
        ("x-customer-id", "acme"),
        ("x-provider-name", "outreach"),
    )
    with open_channel(target, ca) as channel:
        stub = pb_grpc.SequenceStepServiceStub(channel)
        try:
            response = stub.UpdateStep(request, metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            # The call was wrong or could not be served; with `x-error-mode: status`, every failure comes this way.
            show_status(error.code(), error.details(), details_of(error))
            return 1
    # The status is OK, but the update may have failed for the customer: `errors` tells.
    return 0 if show(response) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
