"""The limits of the contract, and the parts of an update that break them."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from service.domain.errors import Violation
from service.domain.etag import UNREAD, StepEtag
from service.domain.json_value import JsonValue, depth, json_path
from service.domain.step import BODY, CUSTOM_FIELDS, SUBJECT, StepRef, StepUpdate

MAX_SUBJECT_CHARACTERS: Final = 998


MAX_BODY_BYTES: Final = 5 * 1024 * 1024


MAX_CUSTOM_FIELDS_BYTES: Final = 64 * 1024


MAX_CUSTOM_FIELDS_DEPTH: Final = 16


CUSTOM_FIELDS_TOO_LONG: Final = Violation(f"record.{CUSTOM_FIELDS}", "Is longer than 64 KiB as JSON.")


_TOO_DEEP: Final = Violation(f"record.{CUSTOM_FIELDS}", f"Is nested deeper than {MAX_CUSTOM_FIELDS_DEPTH} levels.")


MAX_ID_CHARACTERS: Final = 255


# An id becomes one path segment or one query value, and nothing more.
_UNSAFE_IN_ID: Final = re.compile(r"[^A-Za-z0-9._~-]|^\.{1,2}$")


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def is_id(value: str) -> bool:
    """Whether a text can be a provider's id."""
    if not 0 < len(value) <= MAX_ID_CHARACTERS:
        return False
    # Nearly all ids are of this kind, which is found out in a fraction of the time.
    return (value.isascii() and value.isalnum()) or not _UNSAFE_IN_ID.search(value)


def id_violations(step: StepRef, *, is_sequence: bool = False) -> list[Violation]:
    """The ids of a step, or of a sequence, that break a rule, whatever its provider."""
    found: list[Violation] = []
    ids = {"sequence_id": step.sequence_id} | ({} if is_sequence else {"sequence_step_id": step.sequence_step_id})
    for name, value in ids.items():
        if not value:
            found.append(Violation(name, "Required: the provider's own id."))
        elif not is_id(value):
            found.append(Violation(name, "Must be a provider's id: at most 255 letters, digits, `-`, `_`, `.` or `~`."))
    return found


def violations(update: StepUpdate) -> list[Violation]:
    """The parts of an update that break a rule, whatever its provider."""
    found = id_violations(update)
    if update.reverts:
        # What is set back is what the provider itself had, whatever the rules for callers are.
        return found
    if update.etag or update.variant:
        found += _precondition_violations(update)
    subject, body = update.subject, update.body
    if subject is not None and len(subject) > MAX_SUBJECT_CHARACTERS:
        found.append(
            Violation(f"record.{SUBJECT}", f"Has {len(subject)} characters; {MAX_SUBJECT_CHARACTERS} is the most.")
        )
    elif subject is not None and _CONTROL.search(subject):
        found.append(Violation(f"record.{SUBJECT}", "Must be one line without control characters."))
    if body is not None and len(body.encode("utf-8", "surrogatepass")) > MAX_BODY_BYTES:
        found.append(Violation(f"record.{BODY}", "Is longer than 5 MiB in UTF-8."))
    return found + custom_field_violations(update.custom_fields) if update.custom_fields else found


def _precondition_violations(update: StepUpdate) -> list[Violation]:
    """What is wrong with what keeps an update from writing."""
    found: list[Violation] = []
    if update.variant and not update.changes_template:
        found.append(
            Violation("variant", "Says whose template is changed, and `record.template` names nothing to change.")
        )
    if not update.etag:
        return found
    seen = StepEtag.parse(update.etag)
    if seen is None:
        return [*found, Violation("etag", "Must be one that this service gave, as it was given.")]
    if update.changes_template and seen.template == UNREAD:
        found.append(Violation("etag", "Comes from an answer that had not read the template; take one that had."))
    if update.custom_fields and seen.fields == UNREAD:
        found.append(Violation("etag", "Comes from an answer that had not read the step's fields; take one that had."))
    return found


def custom_field_violations(fields: Mapping[str, JsonValue]) -> list[Violation]:
    """The parts of custom fields that break a rule: their size, their depth, their names."""
    name = f"record.{CUSTOM_FIELDS}"
    try:
        length = len(msgspec.json.encode(fields))
    except RecursionError:
        return [_TOO_DEEP]
    if length > MAX_CUSTOM_FIELDS_BYTES:
        return [CUSTOM_FIELDS_TOO_LONG]
    if depth(fields) > MAX_CUSTOM_FIELDS_DEPTH:
        return [_TOO_DEEP]
    return [
        Violation(json_path((name, key)), "A name must have 1 to 255 characters, without control characters.")
        for key in fields
        if not key or len(key) > 255 or _CONTROL.search(key)
    ]
