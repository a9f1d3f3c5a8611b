"""The JSON of the REST page as pydantic models: the request, and the envelope that answers it."""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as pb
from pydantic import MISSING, AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from service.api.envelope import Response, Written
from service.api.value import to_json
from service.domain.errors import CODES, MAX_VIOLATIONS, CallRefused, ErrorCode, Problem, Violation, invalid
from service.domain.json_value import JsonValue, int_if_whole, json_path
from service.domain.step import WARNINGS
from service.domain.validation import (
    CUSTOM_FIELDS_TOO_LONG,
    MAX_CUSTOM_FIELDS_BYTES,
    MAX_SUBJECT_CHARACTERS,
    custom_field_violations,
)

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
_TOO_LONG: Final = "integer_size"

_FLAG: Final[Mapping[str, Any]] = {"true": True, "false": False}
_VIEWS: Final[Mapping[str, Any]] = {name: name for name in pb.StepView.keys()}  # noqa: SIM118  # it is no mapping

Parameters: TypeAlias = Mapping[str, Mapping[str, Any] | Callable[[str], Any]]
"""The parameters of a query, each with what its texts mean, or what reads them; with nothing, any text is a value."""

_IF_SHARED: Final[Mapping[str, Any]] = {name: name for name in pb.IfShared.keys()}  # noqa: SIM118  # it is no mapping


def _page_size(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise ValueError("Must be a whole number, 0 or more.")
    return int(text)


def _time(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.timestamp()
    except ValueError:
        pass
    raise ValueError("Must be a time with its zone as in ISO 8601, such as 2026-11-28T12:00:00Z.")


UPDATE_PARAMETERS: Final[Parameters] = {
    "validate_only": _FLAG,
    "etag": {},
    "if_shared": _IF_SHARED,
    "variant": {},
}
CHANGES_PARAMETERS: Final[Parameters] = {
    "sequence_id": {},
    "sequence_step_id": {},
    "request_id": {},
    "start_time": _time,
    "end_time": _time,
    "page_size": _page_size,
    "page_token": {},
}
REVERT_PARAMETERS: Final[Parameters] = {"validate_only": _FLAG, "overwrite": _FLAG, "if_shared": _IF_SHARED}
GET_PARAMETERS: Final[Parameters] = {"view": _VIEWS, "with_sharing": _FLAG}
LIST_PARAMETERS: Final[Parameters] = {"view": _VIEWS}


def _exact(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Makes integers of numbers that are whole, and orders the fields as over gRPC, so that equal calls send equal requests.

    Fields that break a rule of every update, such as their size, are left as they are; those rules refuse them.
    """
    if custom_field_violations(fields):
        return fields
    too_long: list[str] = []
    found: dict[str, JsonValue] = _exact_members(dict(sorted(fields.items())), [], too_long)
    if too_long:
        raise PydanticCustomError(_TOO_LONG, "integers of more than 64 bits", {"paths": too_long})
    return found


def _exact_members(container: JsonValue, path: list[str | int], too_long: list[str]) -> JsonValue:
    """The object or array with exact numbers; adds the paths of integers that are too long.

    `path` is one list that grows and shrinks, and becomes a text only for what is too long.
    """
    is_object = isinstance(container, dict)
    found: list[JsonValue] = []
    for part, member in container.items() if is_object else enumerate(container):
        kind = type(member)
        if kind is dict or kind is list:
            path.append(part)
            member = _exact_members(member, path, too_long)  # noqa: PLW2901
            path.pop()
        elif kind is float:
            member = int_if_whole(member)  # noqa: PLW2901
        elif kind is int and not _MIN_INT <= member <= _MAX_INT and len(too_long) <= MAX_VIOLATIONS:
            too_long.append(json_path([*path, part]))
        found.append(member)
    return dict(zip(container, found, strict=True)) if is_object else found


class _Request(BaseModel):
    """A part of a request: no conversion of types, and members that it does not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Template(_Request):
    """The email or message template that the step sends."""

    subject: str | MISSING = Field(
        default=MISSING,
        description="The subject, in one line.",
        json_schema_extra={"maxLength": MAX_SUBJECT_CHARACTERS},
    )
    body: str | MISSING = Field(default=MISSING, description="The body, in HTML; at most 5 MiB in UTF-8.")


class Record(_Request):
    """The values to set. What is absent stays as it is; an empty string is a value."""

    template: Template | MISSING = MISSING
    custom_fields: Annotated[dict[str, Any], AfterValidator(_exact)] | MISSING = Field(
        default=MISSING,
        description="Fields of the provider's own step resource, by the provider's own names; at most 64 KiB, nested at "
        "most 16 levels deep.",
    )


class UpdateSequenceStep(_Request):
    """The change."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "record": {
                        "template": {"subject": "Thursday?", "body": "<p>Hi {{first_name}}, shall we talk?</p>"},
                        "custom_fields": {"note": "call first"},
                    }
                }
            ]
        }
    )

    record: Record


class _Response(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(frozen=True)


_FACTS: Final = "What `detail` says in words, for programs; docs/errors.md has the names. Not there if it has none."

_Truncated: TypeAlias = Literal[True] | MISSING
# Members that the page does not have are only there where they say something.


class ErrorCause(_Response):
    """What the provider answered."""

    code: int = Field(description="The HTTP status of the provider's answer.")
    body: Any = Field(description="Its JSON as it came, or a string.")
    headers: dict[str, str] = Field(description="Its headers, without cookies and credentials.")
    body_truncated: _Truncated = Field(default=MISSING, description="There if `body` was cut.")


class ErrorMeta(_Response):
    """Facts about an error, for programs."""

    cause: ErrorCause | MISSING = MISSING
    origin: Literal["remote-provider", "supaglue"] = Field(description="Who found fault with the call.")
    application_name: str = Field(description="The calling application; empty when it is unknown.")
    outcome: Literal["ERROR_OUTCOME_NOT_APPLIED", "ERROR_OUTCOME_UNKNOWN", "ERROR_OUTCOME_PARTIALLY_APPLIED"] = Field(
        description="What the step looks like after the failure."
    )
    request_id: str = Field(description="The id of the call.")
    retry_after: int | float | MISSING = Field(
        default=MISSING,
        description="Seconds to wait before the same call can succeed, if they are known.",
        json_schema_extra={"minimum": 0},
    )
    facts: dict[str, str] | MISSING = Field(default=MISSING, description=_FACTS)


class Error(_Response):
    """One thing that went wrong."""

    id: str = Field(
        description="Names this very occurrence; quote it when asking for help.", json_schema_extra={"format": "uuid"}
    )
    detail: str = Field(description="What happened and what to do about it, for a person.")
    problem_type: str = Field(description="The same as `code`.", json_schema_extra={"deprecated": True})
    title: str = Field(description="A few words.")
    code: str = Field(
        description="The stable name of this kind of error; the list may grow.",
        examples=[code.value for code in CODES],
    )
    status: str = Field(
        description="The HTTP status of the code, in decimal.",
        examples=sorted({str(spec.http_status) for spec in CODES.values()}),
        json_schema_extra={"pattern": "^[1-5][0-9]{2}$"},
    )
    meta: ErrorMeta


class Warning(_Response):  # noqa: A001  # its name in the OpenAPI document
    """Something that the caller should know about an update that did not fail for it."""

    detail: str = Field(description="What is the case, for a person.")
    problem_type: str = Field(
        description="The stable name of this kind of warning; the list may grow.",
        examples=[warning.value for warning in WARNINGS],
    )
    title: str = Field(description="A few words.")
    facts: dict[str, str] | MISSING = Field(default=MISSING, description=_FACTS)


class FieldChange(_Response):
    """One value that was changed, or would be."""

    field: str = Field(description="`template.subject`, `template.body` or `custom_fields.KEY`.")
    before: Any = Field(description="The value before; null if there was none.")
    after: Any = Field(description="What it holds now, or would hold.")
    before_truncated: _Truncated = Field(default=MISSING, description="There if `before` was cut.")
    after_truncated: _Truncated = Field(default=MISSING, description="There if `after` was cut.")


class Envelope(_Response):
    """What became of an update."""

    errors: list[Error] = Field(description="Why the update failed. Empty when it succeeded.")
    warnings: list[Warning] = Field(description="What else the caller should know.")
    changes: list[FieldChange] = Field(description="What was changed, or would be with `validate_only`.")
    truncated: _Truncated = Field(
        default=MISSING, description="There if some of these were left out to keep the response short."
    )
    etag: str | MISSING = Field(
        default=MISSING, description="What to give as `etag` of the next update of the step, if it was read."
    )
    conflicts: list[FieldChange] | MISSING = Field(
        default=MISSING, description="With `STEP_CHANGED_ERROR`, the present values, and what they would have become."
    )
    change_id: str | MISSING = Field(
        default=MISSING, description="The id of the change, if something was written and a history is kept."
    )


class StepTemplate(_Response):
    """The template of a variant."""

    id: str = Field(description="The provider's id of the template; empty if there is none.")
    subject: str | None = Field(description="Null if there is none, or it is not shown.")
    body: str | MISSING | None = Field(default=MISSING, description="The HTML; there with `STEP_VIEW_FULL`.")


class StepVariant(_Response):
    """One variant of a step."""

    id: str = Field(description="The provider's id of the variant; empty if it is not shown.")
    is_live: bool = Field(description="Whether it is sent at present.")
    is_reply: bool = Field(description="Whether it replies in a thread, and so does not use its subject.")
    is_archived: bool = Field(description="Whether its template is archived.")
    updated_by_default: bool = Field(description="Whether it is the one that an update changes which names none.")
    etag: str = Field(description="What to give as `etag` of an update that names this variant.")
    sharing_step_ids: list[str] = Field(description="Other steps that use its template, as far as they are known.")
    sharing_complete: bool = Field(description="Whether these are all.")
    template: StepTemplate


class Step(_Response):
    """A step as its provider shows it."""

    id: str = Field(description="The provider's id of the step.")
    sequence_id: str = Field(description="The provider's id of the sequence.")
    type: str = Field(description="The provider's word for what the step does.")
    order: int | None = Field(description="Its place in the sequence, by the provider's own number.")
    interval_seconds: int | None = Field(description="How long after the step before it begins.")
    is_reply: bool = Field(description="Whether the variant that an update changes replies in a thread.")
    is_sequence_enabled: bool | None = Field(description="Whether the sequence is on; null if that is not shown.")
    etag: str = Field(description="What to give as `etag` of an update that names no variant.")
    template: StepTemplate | None = Field(
        description="The template that an update changes which names no variant; null for a step that sends nothing."
    )
    variants: list[StepVariant] = Field(description="Its variants, in the provider's order.")
    custom_fields: dict[str, Any] = Field(description="The provider's own fields that an `etag` stands for.")


class SequenceSteps(_Response):
    """A sequence with its steps, as its provider shows it."""

    id: str = Field(description="The provider's id of the sequence.")
    name: str = Field(description="Its name; empty if it has none.")
    is_enabled: bool | None = Field(description="Whether it is on; null if that is not shown.")
    is_archived: bool | None = Field(description="Whether it is archived; null if that is not shown.")
    num_steps: int = Field(description="How many steps it has.")
    steps: list[Step] = Field(description="Its steps, in order.")


class StepChange(_Response):
    """What an update wrote to a step, or may have written."""

    id: str = Field(description="Names it.", json_schema_extra={"format": "uuid"})
    created_at: str = Field(
        description="When it was about to be written, in UTC.", json_schema_extra={"format": "date-time"}
    )
    customer_id: str = Field(description="Your own id of the customer.")
    provider_name: str = Field(description="The provider.")
    sequence_id: str = Field(description="The provider's id of the sequence.")
    sequence_step_id: str = Field(description="The provider's id of the step.")
    template_id: str = Field(description="The template that was written; empty if only fields of the step were.")
    request_id: str = Field(description="The id of the call that made it.")
    application_name: str = Field(description="The application that made the call.")
    state: str = Field(
        description="What is known of it.",
        examples=[name for name in pb.StepChangeState.keys() if not name.endswith("UNSPECIFIED")],  # noqa: SIM118
    )
    changes: list[FieldChange] = Field(description="The values that it changed, or may have changed.")
    reverts_change_id: str | MISSING = Field(
        default=MISSING, description="The change that it takes back, if it is a revert."
    )


class StepChanges(_Response):
    """A page of changes."""

    step_changes: list[StepChange] = Field(description="The changes, newest first; long values are cut.")
    next_page_token: str = Field(description="What to give as `page_token` for the next page; empty on the last one.")


class ServerStatus(_Response):
    """Whether the server lives, or is ready."""

    status: Literal["alive", "ready", "not ready"]


# The members of a request that are read; what else it has is passed over without building anything from it.


class _Body(msgspec.Struct):
    record: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Record(msgspec.Struct):
    template: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    custom_fields: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Template(msgspec.Struct):
    subject: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


# Stands for a value of another kind than the one that is wanted, by its first byte; a number has any other.
_OF_KIND: Final[Mapping[bytes, JsonValue]] = {b"{": {}, b"[": [], b'"': "", b"t": True, b"f": False, b"n": None}

# JSON of 64 KiB without spaces and escapes is at most this long with escapes; and what is read with spaces too.
_MAX_ESCAPED_BYTES: Final = 6 * MAX_CUSTOM_FIELDS_BYTES
_MAX_SPACED_BYTES: Final = 4 * _MAX_ESCAPED_BYTES


def parse_body(data: bytes) -> UpdateSequenceStep:
    """The body of a request.

    Raises:
        CallRefused: The body is no JSON, or a value has the wrong type. All that is wrong is named.
    """
    try:
        body = _shallow(data.removeprefix(codecs.BOM_UTF8))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(f"The body is not JSON in UTF-8: {error}.") from None
    except RecursionError:
        raise malformed("The body is nested too deeply.") from None
    try:
        return UpdateSequenceStep.model_validate(body)
    except ValidationError as error:
        raise invalid(list(_violations(error))) from None


def _shallow(data: bytes) -> JsonValue:
    """The JSON of a body with the members that are read, for pydantic to check.

    Stricter than pydantic's parser, which takes NaN and numbers that no double holds.
    """
    # All of it has to be JSON, whatever is read of it.
    body = _members(msgspec.json.decode(data, type=msgspec.Raw), _Body)
    if (record := _member(body, "record")) is not None:
        body["record"] = _members(record, _Record)
        if (template := _member(body["record"], "template")) is not None:
            body["record"]["template"] = _members(template, _Template)
            for name in ("subject", "body"):
                if (text := _member(body["record"]["template"], name)) is not None:
                    body["record"]["template"][name] = _value(text, b'"')
        if (fields := _member(body["record"], "custom_fields")) is not None:
            body["record"]["custom_fields"] = _custom_fields(fields)
    return body


def _member(members: JsonValue, name: str) -> msgspec.Raw | None:
    return members.get(name) if isinstance(members, dict) else None


def _members(raw: msgspec.Raw, known: type[msgspec.Struct]) -> JsonValue:
    """The members of an object that are known, unread; or what stands for a value of another kind."""
    if _kind(raw) != b"{":
        return _OF_KIND.get(_kind(raw), 0)
    members = msgspec.structs.asdict(msgspec.json.decode(raw, type=known))
    return {name: member for name, member in members.items() if member is not msgspec.UNSET}


def _value(raw: msgspec.Raw, kind: bytes) -> JsonValue:
    return msgspec.json.decode(raw) if _kind(raw) == kind else _OF_KIND.get(_kind(raw), 0)


def _custom_fields(raw: msgspec.Raw) -> JsonValue:
    length = memoryview(raw).nbytes
    if length > _MAX_ESCAPED_BYTES and _kind(raw) == b"{":
        without_spaces = msgspec.json.format(bytes(raw), indent=-1) if length <= _MAX_SPACED_BYTES else raw
        if memoryview(without_spaces).nbytes > _MAX_ESCAPED_BYTES:
            raise invalid([CUSTOM_FIELDS_TOO_LONG])
    return _value(raw, b"{")


def _kind(raw: msgspec.Raw) -> bytes:
    """The first byte of a value, which tells its kind."""
    return bytes(memoryview(raw)[:1])


_EXPECTED: Final = {"model_type": "an object", "dict_type": "an object", "string_type": "a string"}
_KINDS: Final[Mapping[type, str]] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def _violations(error: ValidationError) -> Iterator[Violation]:
    """What pydantic found wrong, in the words of the contract; no value is quoted."""
    for found in error.errors(include_url=False):
        name, kind = ".".join(map(str, found["loc"])) or "body", found["type"]
        if kind == "missing":
            yield Violation(name, "Required: the values to set; an empty one changes nothing.")
        elif kind == _TOO_LONG:
            for path in found["ctx"]["paths"]:
                yield Violation(f"{name}.{path}", "Must be an integer of at most 64 bits.")
        else:
            is_a = _KINDS[type(found["input"])]
            yield Violation(name, f"Must be {_EXPECTED[kind]}, and is {is_a}. Leave out what is to stay.")


def parse_query(given: Sequence[tuple[str, str]], known: Parameters) -> dict[str, Any]:
    """The parameters of a query, as far as they are given.

    Args:
        given: Names and values as they came.
        known: The parameters of the operation.

    Raises:
        CallRefused: One is not known, since it could say not to write; or it has a value that it cannot have, or two.
    """
    found: dict[str, Any] = {}
    wrong: list[Violation] = []
    for name, text in given:
        choices = known.get(name)
        if choices is None:
            wrong.append(Violation(name[:100], "Is a parameter that this version of the service does not know."))
        elif callable(choices):
            try:
                value = choices(text)
                if found.setdefault(name, value) != value:
                    wrong.append(Violation(name, "Give it once."))
            except ValueError as error:
                wrong.append(Violation(name, str(error)))
        elif (choices and text not in choices) or found.setdefault(name, choices.get(text, text)) != choices.get(
            text, text
        ):
            rule = f"Must be {' or '.join(f'`{choice}`' for choice in choices)}, once." if choices else "Give it once."
            wrong.append(Violation(name, rule))
    if wrong:
        raise invalid(wrong)
    return found


def malformed(detail: str) -> CallRefused:
    """The refusal of a request that the HTTP server cannot read."""
    return CallRefused(Problem(ErrorCode.BAD_REQUEST, detail))


_ORIGINS: Final[Mapping[int, Literal["remote-provider", "supaglue"]]] = {
    envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER: "remote-provider",
    envelope_pb2.ERROR_ORIGIN_SERVICE: "supaglue",
}


def render(response: Response) -> bytes:
    """What was read, or the envelope in the JSON of the REST page, with members beside its own."""
    if not response.errors:
        if isinstance(response, pb.GetStepResponse):
            return _step(response.step).model_dump_json().encode()
        if isinstance(response, pb.ListStepsResponse):
            return _sequence(response).model_dump_json().encode()
        if isinstance(response, pb.GetStepChangeResponse):
            return _step_change(response.step_change).model_dump_json().encode()
        if isinstance(response, pb.ListStepChangesResponse):
            page = StepChanges(
                step_changes=[_step_change(change) for change in response.step_changes],
                next_page_token=response.next_page_token,
            )
            return page.model_dump_json().encode()
    update = response if isinstance(response, Written) else pb.UpdateStepResponse()
    envelope = Envelope(
        errors=[_error(error) for error in response.errors],
        warnings=[
            Warning(
                detail=warning.detail,
                problem_type=warning.problem_type,
                title=warning.title,
                facts=dict(warning.facts) or MISSING,
            )
            for warning in response.warnings
        ],
        changes=_changes(update.changes),
        truncated=_if(response.truncated),
        etag=update.etag or MISSING,
        conflicts=_changes(update.conflicts) or MISSING,
        change_id=update.change_id or MISSING,
    )
    return envelope.model_dump_json().encode()


def _step_change(change: pb.StepChange) -> StepChange:
    return StepChange(
        id=change.change_id,
        created_at=change.create_time.ToJsonString(),
        customer_id=change.customer_id,
        provider_name=change.provider_name,
        sequence_id=change.sequence_id,
        sequence_step_id=change.sequence_step_id,
        template_id=change.template_id,
        request_id=change.request_id,
        application_name=change.application_name,
        state=pb.StepChangeState.Name(change.state),
        changes=_changes(change.changes),
        reverts_change_id=change.reverts_change_id or MISSING,
    )


def _sequence(response: pb.ListStepsResponse) -> SequenceSteps:
    sequence = response.sequence
    return SequenceSteps(
        id=sequence.sequence_id,
        name=sequence.name,
        is_enabled=sequence.enabled if sequence.HasField("enabled") else None,
        is_archived=sequence.archived if sequence.HasField("archived") else None,
        num_steps=len(response.steps),
        steps=[_step(step) for step in response.steps],
    )


def _step(step: pb.Step) -> Step:
    default = next((variant for variant in step.variants if variant.updated_by_default), None)
    return Step(
        id=step.sequence_step_id,
        sequence_id=step.sequence_id,
        type=step.type,
        order=step.order if step.HasField("order") else None,
        interval_seconds=step.interval_seconds if step.HasField("interval_seconds") else None,
        is_reply=default is not None and default.reply,
        is_sequence_enabled=step.sequence_enabled if step.HasField("sequence_enabled") else None,
        etag=step.etag,
        template=_template(default) if default is not None else None,
        variants=[
            StepVariant(
                id=variant.variant_id,
                is_live=variant.live,
                is_reply=variant.reply,
                is_archived=variant.template_archived,
                updated_by_default=variant.updated_by_default,
                etag=variant.etag,
                sharing_step_ids=list(variant.sharing_step_ids),
                sharing_complete=variant.sharing_complete,
                template=_template(variant),
            )
            for variant in step.variants
        ],
        custom_fields={name: to_json(value) for name, value in step.custom_fields.fields.items()},
    )


def _template(variant: pb.StepVariant) -> StepTemplate:
    return StepTemplate(
        id=variant.template_id,
        subject=variant.subject if variant.HasField("subject") else None,
        body=variant.body if variant.HasField("body") else MISSING,
    )


def _changes(changes: Iterable[envelope_pb2.FieldChange]) -> list[FieldChange]:
    return [
        FieldChange(
            field=change.field,
            before=to_json(change.before),
            after=to_json(change.after),
            before_truncated=_if(change.before_truncated),
            after_truncated=_if(change.after_truncated),
        )
        for change in changes
    ]


def _if(was_truncated: bool) -> _Truncated:  # noqa: FBT001  # its only argument
    return True if was_truncated else MISSING


def _error(error: envelope_pb2.Error) -> Error:
    meta = error.meta
    cause = meta.cause
    return Error(
        id=error.id,
        detail=error.detail,
        # Deprecated in the contract, and a member of the page.
        problem_type=error.code,
        title=error.title,
        code=error.code,
        status=error.status,
        meta=ErrorMeta(
            cause=ErrorCause(
                code=cause.code,
                body=to_json(cause.body),
                headers=dict(cause.headers),
                body_truncated=_if(cause.body_truncated),
            )
            if meta.HasField("cause")
            else MISSING,
            origin=_ORIGINS[meta.origin],
            application_name=meta.application_name,
            outcome=envelope_pb2.ErrorOutcome.Name(meta.outcome),
            request_id=meta.request_id,
            retry_after=int_if_whole(meta.retry_after.ToMilliseconds() / 1000)
            if meta.HasField("retry_after")
            else MISSING,
            facts=dict(meta.facts) or MISSING,
        ),
    )
