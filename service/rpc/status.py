"""Makes gRPC statuses of failures, with details that programs can read."""

import math
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from engagement.v1 import envelope_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from service.api.call_handler import CallOutcome
from service.api.contract import ORIGINS
from service.api.envelope import Response, fit
from service.api.metadata import ErrorMode
from service.api.value import encodable
from service.domain.errors import CODES, ErrorCode, Problem, Violation

DOMAIN: Final = "seqstep.github.io"
"""The `domain` of `google.rpc.ErrorInfo`: who defines its `reason`, by a name that nobody else has."""

MAX_STATUS_BYTES: Final = 4200
"""Longest serialized status. Base64 adds a third, and default clients of Java and Go refuse trailers of more than 8 KiB."""

LONGEST_BACK_OFF_SECONDS: Final = 2.0
"""The longest wait of the retry policy in docs/clients.md."""

_NO_RETRY: Final = (("grpc-retry-pushback-ms", "-1"),)

_MAX_MESSAGE_BYTES: Final = 1200
_MAX_VIOLATION_BYTES: Final = 200
_MAX_FACT_BYTES: Final = 300

# What gRPC sends of a message as it is: printable ASCII but the percent sign.
_UNENCODED: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

# What a detail costs beside its own bytes: its type's name, and lengths.
_DETAIL_BYTES: Final = 80


def status_name(outcome: CallOutcome) -> str:
    """The name of the gRPC status that a call ends with."""
    problem = outcome.problem
    if problem is None or not (outcome.refused or outcome.error_mode is ErrorMode.STATUS):
        return "OK"
    if problem.code is ErrorCode.UNAUTHORIZED_ERROR and not outcome.refused:
        # The customer's credentials at the provider. The caller's own log-in would act on UNAUTHENTICATED.
        return "FAILED_PRECONDITION"
    return CODES[problem.code].grpc_status


def pushback(outcome: CallOutcome, name: str) -> Sequence[tuple[str, str]]:
    """The metadata that keeps a client's gRPC from repeating a call by itself, where no repetition so soon can help.

    A call that came as far as the provider has had its repetitions here: another one would spend the customer's quota. What
    ends later than the longest wait of the retry policy is as it is when the repetition comes.

    Args:
        outcome: How the call ended.
        name: The name of the status that it ends with; clients repeat UNAVAILABLE only.
    """
    wait = outcome.problem.retry_after if outcome.problem is not None else None
    is_vain = outcome.provider_calls > 0 or (wait is not None and wait > LONGEST_BACK_OFF_SECONDS)
    return _NO_RETRY if name == "UNAVAILABLE" and is_vain else ()


def status_details(outcome: CallOutcome, problem: Problem) -> tuple[str, bytes]:
    """The message of a status and its serialized `google.rpc.Status`.

    Args:
        outcome: How the call ended; its envelope is shortened to fit.
        problem: The first problem, which the status stands for.
    """
    return details(status_name(outcome), problem, outcome.violations, outcome.response)


def details(
    name: str,
    problem: Problem,
    violations: Sequence[Violation] = (),
    response: Response | None = None,
) -> tuple[str, bytes]:
    """The message of a status and its serialized `google.rpc.Status`.

    Args:
        name: The name of the status.
        problem: What it stands for.
        violations: The parts of the call that break a rule.
        response: The envelope of the call; it is shortened to fit.
    """
    message = _message(problem.detail)
    status = status_pb2.Status(code=code_pb2.Code.Value(name), message=message)
    found: list[Message] = [_error_info(problem)]
    if problem.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(problem.retry_after * 1000))
        found.append(retry)
    left = MAX_STATUS_BYTES - status.ByteSize() - sum(detail.ByteSize() + _DETAIL_BYTES for detail in found)
    if response is not None:
        found.insert(0, fit(response, (left // 2 if violations else left) - _DETAIL_BYTES))
        left -= response.ByteSize() + _DETAIL_BYTES
    if violations:
        found.append(_bad_request(violations, left - _DETAIL_BYTES))
    for detail in found:
        _pack(status, detail)
    return message, status.SerializeToString()


def _error_info(problem: Problem) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(
        reason=problem.code.value,
        domain=DOMAIN,
        metadata={name: encodable(value, _MAX_FACT_BYTES) for name, value in problem.facts.items()},
    )
    info.metadata["http_status"] = str(CODES[problem.code].http_status)
    info.metadata["outcome"] = problem.outcome.value
    info.metadata["origin"] = envelope_pb2.ErrorOrigin.Name(ORIGINS[problem.origin])
    return info


def _message(text: str) -> str:
    """The text, cut so that it stays short as gRPC sends it: percent-encoded."""
    if len(quote(text, safe=_UNENCODED)) <= _MAX_MESSAGE_BYTES:
        return text
    kept = 0
    left = _MAX_MESSAGE_BYTES - len(quote("…"))
    for character in text:
        left -= len(quote(character.encode("utf-8", "replace"), safe=_UNENCODED))
        if left < 0:
            break
        kept += 1
    return text[:kept] + "…"


def _bad_request(violations: Sequence[Violation], limit: int) -> error_details_pb2.BadRequest:
    """The violations, as many as there are bytes for; the last one says how many more there are."""
    bad = error_details_pb2.BadRequest()
    for number, violation in enumerate(violations):
        shown = bad.field_violations.add(
            field=_shortened(violation.field), description=_shortened(violation.description)
        )
        if bad.ByteSize() > limit - _DETAIL_BYTES and number + 1 < len(violations):
            shown.field, shown.description = "", f"{len(violations) - number} more are not shown."
            break
    return bad


def _shortened(text: str) -> str:
    return encodable(text, _MAX_VIOLATION_BYTES)


def _pack(status: status_pb2.Status, message: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(message)
    status.details.append(packed)
