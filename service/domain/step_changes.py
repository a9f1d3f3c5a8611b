"""What an update changed, as it is kept to be shown and taken back, and what a caller asks about it."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.errors import Problem
from service.domain.step import FieldChange, Provider, StepRef, StepWarning

_CHANGE_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def is_change_id(text: str) -> bool:
    """Whether a text can be the id of a change."""
    return _CHANGE_ID.fullmatch(text) is not None


class ChangeState(StrEnum):
    """What is known of a change; one that is known not to have been made is not kept."""

    UNKNOWN = "unknown"
    APPLIED = "applied"
    PARTIALLY_APPLIED = "partially_applied"


class StepChange(StepRef, frozen=True):
    """What an update wrote to a step, or may have written.

    Attributes:
        change_id: Names it.
        created_at: When it was about to be written, as a Unix time in seconds.
        template_id: The template that was written; empty if only fields of the step were.
        request_id: The id of the call that made it.
        state: What is known of it.
        fields: The values, whole; None where they cannot be decrypted.
        reverts: The id of the change that it takes back; empty unless it is a revert.
    """

    change_id: str
    created_at: float
    template_id: str
    request_id: str
    state: ChangeState
    fields: Sequence[FieldChange] | None
    reverts: str = ""


class ChangesQuery(StepRef, frozen=True):
    """Which changes a caller wants to see; the id of the sequence, and that of the step, are empty for all.

    Attributes:
        request_id: Only those of calls with this id; empty for all.
        start_at: Only those from this time on, as a Unix time in seconds; None for all.
        end_at: Only those before this time.
        page_size: How many to show at most; 0 for as many as is usual.
        page_token: Says where the page begins; empty for the first one.
    """

    request_id: str = ""
    start_at: float | None = None
    end_at: float | None = None
    page_size: int = 0
    page_token: str = ""

    @property
    def names_step(self) -> bool:
        """Whether the changes of one step are wanted."""
        return bool(self.sequence_step_id)


class ChangeRef(msgspec.Struct, frozen=True):
    """Names a change.

    Attributes:
        provider: Where it was made.
        customer_id: The caller's own id of its customer.
        change_id: The id of the change.
    """

    provider: Provider
    customer_id: str
    change_id: str


class ChangeRevert(ChangeRef, frozen=True):
    """Which change a caller wants to take back, and how.

    Attributes:
        validate_only: Do everything but the writes.
        overwrite: Write over whatever is there by now.
        refuse_shared: Leave a template that other steps use, too.
        is_retry: Whether the call repeats an earlier attempt, which may have been carried out.
        request_id: The id of the call.
    """

    validate_only: bool = False
    overwrite: bool = False
    refuse_shared: bool = False
    is_retry: bool = False
    request_id: str = ""


class ChangesResult(msgspec.Struct, frozen=True):
    """What came of reading changes.

    Attributes:
        problems: Why it failed; empty when it did not.
        warnings: What else the caller should know.
        changes: The changes, newest first.
        page_size: How many of them are wanted; there may be one more, which says that there is another page.
        is_cut: Whether there may be more behind the last one.
        filters: Says which list they are of.
        provider_calls: None.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[StepWarning, ...] = ()
    changes: Sequence[StepChange] = ()
    page_size: int = 0
    is_cut: bool = False
    filters: str = ""
    provider_calls: int = 0
