"""Whether what a caller learned of an update is so, by what the provider holds."""

from collections.abc import Iterator, Mapping
from typing import Any

from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from google.protobuf import json_format

from service.api.value import CUT
from tests.support.stand_in import FIELD_NAMES, Texts

_AS_IT_WAS = frozenset({"NO_CHANGE", "CONTENT_NORMALIZED"})


def untruths(
    provider: str, response: pb.UpdateStepResponse, wanted: Mapping[str, Any], before: Texts, now: Texts
) -> Iterator[str]:
    """What a response says that is not so.

    Args:
        provider: Whose step it is.
        response: What the caller got.
        wanted: The texts that it sent.
        before: What was stored before the call.
        now: What it holds after it.
    """
    shown = json_format.MessageToDict(response, preserving_proto_field_name=True)
    changes = {change["field"]: change for change in shown.get("changes", [])}
    names = FIELD_NAMES[provider]
    for name in wanted:
        change = changes.pop(names[name], None)
        is_whole = CUT not in str(change)
        if change is not None and is_whole and (change["before"], change["after"]) != (before[name], now[name]):
            yield f"{name} is said to be {change['before']!r} -> {change['after']!r}, and was {before[name]!r} -> {now[name]!r}"
        if change is not None and change["before"] == change["after"]:
            yield f"{name} is listed as changed and is as before"
        if change is None and not response.errors and now[name] != before[name]:
            yield f"{name} was changed, and the response does not say so"
    if changes:
        yield f"{set(changes)} are listed, and were not asked for"
    kinds = {warning["problem_type"] for warning in shown.get("warnings", [])}
    if not response.errors and any(now[name] != value for name, value in wanted.items()) and not kinds & _AS_IT_WAS:
        yield "it is said to have succeeded, and the provider holds something else"
    # A subject is not cleaned, but for the white space around it.
    subject = wanted.get("subject")
    if not response.errors and subject is not None and _words(now["subject"]) != _words(subject):
        yield "it is said to have succeeded, and the provider has another subject"
    for error in response.errors:
        yield from _untruths_of(error, before, now, has_changes=bool(response.changes))


def _words(text: object) -> list[str]:
    return str(text or "").split()


def _untruths_of(error: envelope_pb2.Error, before: Texts, now: Texts, *, has_changes: bool) -> Iterator[str]:
    if error.code == "INTERNAL_SERVER_ERROR":
        yield "it is said to be a bug of the service"
    says_nothing = "Nothing was changed" in error.detail
    match error.meta.outcome:
        case envelope_pb2.ERROR_OUTCOME_NOT_APPLIED:
            if now != before or has_changes:
                yield f"it is said not to be applied, and {before} became {now}"
            if not says_nothing:
                yield f"the detail does not say that nothing was changed: {error.detail}"
        case envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED:
            if now == before or not has_changes or says_nothing:
                yield f"it is said to be applied in part: {error.detail}"
        case envelope_pb2.ERROR_OUTCOME_UNKNOWN:
            is_said = "may have been carried out" in error.detail or "kept the old text" in error.detail
            if has_changes or says_nothing or not is_said:
                yield f"it is not known, and the response says more: {error.detail}"
        case _:
            yield "it has no outcome"
