"""The use cases of looking back: the changes of a customer's steps are listed, read, and taken back."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, Protocol, TypeAlias

from msgspec.structs import replace

from service.domain import validation
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Problem, UpdateFailed, Violation, invalid
from service.domain.json_value import JsonValue
from service.domain.outcome import stated, with_outcome
from service.domain.page_token import filters_digest, position, stale_token
from service.domain.step import (
    BODY,
    CUSTOM_FIELDS,
    SUBJECT,
    Caller,
    FieldChange,
    Provider,
    StepUpdate,
    StepWarning,
    UpdateResult,
    WarningType,
)
from service.domain.step_changes import ChangeRef, ChangeRevert, ChangesQuery, ChangesResult, StepChange, is_change_id

DEFAULT_PAGE: Final = 50
LONGEST_PAGE: Final = 200

Update: TypeAlias = Callable[[Caller, StepUpdate, Deadline], Awaitable[UpdateResult]]
"""`service.update_step.UpdateStep`, or what stands for it in a test."""


class Changes(Protocol):
    """Where changes are kept; `service.history` says what each method promises."""

    async def page(
        self, application_id: int, query: ChangesQuery, limit: int, after: str | None, deadline: Deadline
    ) -> tuple[list[StepChange], bool]:
        """Lists changes, the newest first, and tells whether their length ended the list."""

    async def find(
        self, application_id: int, customer_id: str, provider: Provider, change_id: str, deadline: Deadline
    ) -> StepChange | None:
        """Reads a change; None if there is none."""


class StepHistory:
    """Shows and takes back what updates of the calling application changed. Without a history, every call says so."""

    def __init__(self, changes: Changes | None, update_step: Update, clearing: Collection[Provider] = ()) -> None:
        """Makes the use cases.

        Args:
            changes: The history; None if none is kept.
            update_step: What takes a change back.
            clearing: The providers whose templates can be without a text again that they once did not have.
        """
        self._changes = changes
        self._update_step = update_step
        self._clearing = clearing

    async def list(self, caller: Caller, query: ChangesQuery, deadline: Deadline) -> ChangesResult:
        """Lists changes.

        Raises:
            CallRefused: The query breaks a rule.
        """
        _check(query)
        filters = filters_digest(
            *(caller.application_id, query.customer_id, query.provider, query.sequence_id, query.sequence_step_id),
            *(query.request_id, query.start_at, query.end_at),
        )
        after = None
        if query.page_token:
            [after] = position(query.page_token, filters, 1)
            if not is_change_id(after):
                raise stale_token()
        if self._changes is None:
            return ChangesResult((_no_history(),))
        size = min(query.page_size or DEFAULT_PAGE, LONGEST_PAGE)
        try:
            found, is_cut = await self._changes.page(caller.application_id, query, size + 1, after, deadline)
        except UpdateFailed as failure:
            return ChangesResult(tuple(map(stated, failure.problems)))
        return ChangesResult(changes=found, page_size=size, is_cut=is_cut, filters=filters)

    async def get(self, caller: Caller, wanted: ChangeRef, deadline: Deadline) -> ChangesResult:
        """Reads a change.

        Raises:
            CallRefused: Its id is none.
        """
        try:
            return ChangesResult(changes=[await self._find(caller, wanted, deadline)], page_size=1)
        except UpdateFailed as failure:
            return ChangesResult(tuple(map(stated, failure.problems)))

    async def revert(self, caller: Caller, wanted: ChangeRevert, deadline: Deadline) -> UpdateResult:
        """Takes a change back, by an update like any other.

        Raises:
            CallRefused: Its id is none.
            UpdateAbandoned: The caller went away.
        """
        try:
            change = await self._find(caller, wanted, deadline)
        except UpdateFailed as failure:
            in_doubt = wanted.is_retry and not wanted.validate_only
            title = wanted.provider.title
            return UpdateResult(with_outcome(failure.problems, title, requests_sent=0, in_doubt=in_doubt))
        update, left = _restoring(change, wanted, can_clear=wanted.provider in self._clearing)
        result = await self._update_step(caller, update, deadline)
        return replace(result, warnings=(*result.warnings, _not_restored(change, left))) if left else result

    async def _find(self, caller: Caller, wanted: ChangeRef, deadline: Deadline) -> StepChange:
        change_id = wanted.change_id.lower()
        if not is_change_id(change_id):
            rule = (
                "Must be the id of a change, as an answer gave it." if change_id else "Required: the id of the change."
            )
            raise invalid([Violation("change_id", rule)])
        if self._changes is None:
            raise UpdateFailed(_no_history())
        change = await self._changes.find(
            caller.application_id, wanted.customer_id, wanted.provider, change_id, deadline
        )
        if change is None:
            raise _NoChange(wanted)
        if change.fields is None:
            raise _Unreadable(wanted)
        return change


class _NoChange(UpdateFailed):
    """The customer has no change by this id."""

    def __init__(self, wanted: ChangeRef) -> None:
        super().__init__(
            Problem(
                ErrorCode.NOT_FOUND_ERROR,
                f"Customer {wanted.customer_id} has no change {wanted.change_id} at {wanted.provider.title}, or it is not kept "
                "any more.",
                advice="List the changes to find its id.",
                facts={"resource": "step_change"},
            )
        )


class _Unreadable(UpdateFailed):
    """The values of a change cannot be decrypted."""

    def __init__(self, wanted: ChangeRef) -> None:
        super().__init__(
            Problem(
                ErrorCode.INTERNAL_SERVER_ERROR,
                f"The stored values of change {wanted.change_id} cannot be decrypted.",
                advice="The operator of this service has to restore the encryption key.",
            )
        )


def _no_history() -> Problem:
    return Problem(
        ErrorCode.NOT_IMPLEMENTED_ERROR,
        "This service keeps no history of changes. Its operator can set SEQSTEP_HISTORY_DAYS.",
    )


def _check(query: ChangesQuery) -> None:
    """Refuses a query that breaks a rule.

    Raises:
        CallRefused: It does.
    """
    found: list[Violation] = []
    if query.sequence_step_id or query.sequence_id:
        found += validation.id_violations(query, is_sequence=not query.sequence_step_id)
    if query.page_size < 0:
        found.append(Violation("page_size", "Must be 0 or more."))
    if found:
        raise invalid(found)


def _restoring(
    change: StepChange, wanted: ChangeRevert, *, can_clear: bool
) -> tuple[StepUpdate, Sequence[FieldChange]]:
    """The update that takes a change back, and the fields that it cannot set back."""
    texts: dict[str, str | None] = {}
    custom: dict[str, JsonValue] = {}
    left: list[FieldChange] = []
    for field in change.fields or ():
        is_custom = field.field.startswith(CUSTOM_FIELDS)
        if is_custom and not field.is_new:
            custom[field.field.partition(".")[2]] = field.before
        elif not is_custom and (isinstance(field.before, str) or can_clear):
            texts[field.field] = field.before if isinstance(field.before, str) else None
        else:
            left.append(field)
    set_back = {field.field: field.after for field in change.fields or () if field not in left}
    update = StepUpdate(
        provider=change.provider,
        customer_id=change.customer_id,
        sequence_id=change.sequence_id,
        sequence_step_id=change.sequence_step_id,
        subject=texts.get(SUBJECT),
        body=texts.get(BODY),
        custom_fields=custom,
        validate_only=wanted.validate_only,
        is_retry=wanted.is_retry,
        refuse_shared=wanted.refuse_shared,
        variant=change.template_id if texts else "",
        request_id=wanted.request_id,
        reverts=change.change_id,
        only_over={} if wanted.overwrite else set_back,
        clears=frozenset(name for name, before in texts.items() if before is None),
    )
    return update, left


def _not_restored(change: StepChange, left: Sequence[FieldChange]) -> StepWarning:
    names = [field.field for field in left]
    return StepWarning(
        WarningType.NOT_RESTORED,
        f"Before change {change.change_id} there was no {', no '.join(names)}. That cannot be made so again, and what is there "
        "stays.",
        {"fields": ",".join(names)},
    )
