"""The one use case: a caller's update becomes the fewest requests to a provider, and a true result."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from service.domain import validation
from service.domain.credentials import Connection
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Origin, Outcome, Problem, UpdateFailed, failed, invalid
from service.domain.etag import NOTHING_READ, StepContent, StepEtag
from service.domain.html import same_document, visible_text
from service.domain.json_value import JsonValue, json_equal
from service.domain.outcome import with_outcome
from service.domain.step import (
    BODY,
    CUSTOM_FIELDS,
    Caller,
    FieldChange,
    Provider,
    StepUpdate,
    StepWarning,
    UpdateResult,
    WarningType,
)
from service.domain.step_changes import ChangeState
from service.providers.adapter import Plan, Write
from service.providers.planning import SharedTemplateRefused, StepChanged, no_change, nothing_named
from service.tasks import finish
from service.upstream.sequence_lock import SequenceLock
from service.upstream.session import ProviderSession, ProviderSessions


class Connections(Protocol):
    """Where the credentials of customers come from; `service.connections` says what each method promises."""

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        """The customer's connection, with credentials that are good to use."""

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """The connection with new credentials, after the provider refused the present ones."""


class RecordedChange(Protocol):
    """A change that the history has, and whose end it does not know yet."""

    @property
    def change_id(self) -> str:
        """Names it."""

    async def settle(self, state: ChangeState | None, fields: Sequence[FieldChange] | None) -> None:
        """Notes what became of it; None for a state: it was not made. None for fields: they are as recorded."""


class ChangeLog(Protocol):
    """Where changes are kept; `service.history` says what each method promises."""

    async def record(
        self, caller: Caller, update: StepUpdate, template_id: str, fields: Sequence[FieldChange], deadline: Deadline
    ) -> RecordedChange:
        """Keeps a change that is about to be made."""


class UpdateAbandoned(asyncio.CancelledError):
    """The caller went away during an update.

    Attributes:
        writing: What finishes the writes that had begun; None if none had.
    """

    def __init__(self, session: ProviderSession | None, writing: asyncio.Task[UpdateResult] | None = None) -> None:
        super().__init__()
        self._session = session
        self.writing = writing

    @property
    def requests_sent(self) -> int:
        """Requests that were sent to the provider until now."""
        return self._session.requests_sent if self._session is not None else 0


class UpdateStep:
    """Changes one step of one sequence for one customer.

    Two provider requests for a change of the template, one for an update that changes nothing, none for what can be
    refused here; custom fields add a write, and a search for an explanation adds a read. Updates of one sequence follow
    each other, each with a read of its own. A read ends when the caller goes away; a write that was begun is finished,
    since abandoning it would leave its outcome unknown.
    """

    def __init__(
        self,
        sessions: Mapping[Provider, ProviderSessions],
        unsupported: Mapping[Provider, str],
        connections: Connections,
        history: ChangeLog | None = None,
    ) -> None:
        """Makes the use case.

        Args:
            sessions: How each provider is called that can be updated.
            unsupported: Why each of the others cannot.
            connections: Where credentials come from.
            history: Where changes are kept; None if they are not.
        """
        self._sessions = sessions
        self._unsupported = unsupported
        self._connections = connections
        self._history = history
        self._writing: set[asyncio.Task[UpdateResult]] = set()

    async def __call__(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        """Carries out an update.

        Args:
            caller: Who asks.
            update: What it wants.
            deadline: When the result must be there.

        Returns:
            What became of it; a failure at the provider is in `problems`.

        Raises:
            CallRefused: The update breaks a rule; no provider was called.
            UpdateAbandoned: The caller went away.
        """
        sessions = self._sessions.get(update.provider)
        violations = [*validation.violations(update), *(sessions.adapter.violations(update) if sessions else ())]
        if violations:
            raise invalid(violations)
        if sessions is None:
            return UpdateResult((Problem(ErrorCode.NOT_IMPLEMENTED_ERROR, self._unsupported[update.provider]),))
        if update.is_empty:
            return UpdateResult(warnings=(nothing_named(),))
        session: ProviderSession | None = None
        try:
            connection = await self._connections.usable(
                caller.application_id, update.customer_id, update.provider, deadline
            )
            session = sessions.open(connection, self._connections.renewed, deadline)
            if update.validate_only:
                plan = await sessions.adapter.plan(update, session)
                _check_preconditions(plan, update, session)
                return _unwritten(plan, update, session)
            lock = sessions.locks.of(connection.key, update.sequence_id)
            await lock.acquire_until(deadline, update.sequence_id)
            try:
                plan = await sessions.adapter.plan(update, session)
                _check_preconditions(plan, update, session)
            except BaseException:
                lock.release()
                raise
        except UpdateFailed as failure:
            return _failed(failure, update, session)
        except asyncio.CancelledError:
            raise UpdateAbandoned(session) from None
        writing = asyncio.create_task(self._write(caller, plan, update, session, lock, deadline))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            raise UpdateAbandoned(session, writing) from None

    async def _write(
        self,
        caller: Caller,
        plan: Plan,
        update: StepUpdate,
        session: ProviderSession,
        lock: SequenceLock,
        deadline: Deadline,
    ) -> UpdateResult:
        """Sends the writes of a plan that are needed, between two entries of the history, and releases the lock."""
        if update.etag or update.only_over:
            # What was compared may be something else after a wait; the caller's next call compares again.
            session.may_wait = False
        needed = [write for write in plan.writes if session.is_needed(write)]
        written = _Written(plan.content)
        recorded: RecordedChange | None = None
        planned = [field for write in needed for field in _different(write.fields)]
        try:
            if self._history is not None and planned:
                writes_template = not all(map(_is_of_step, needed))
                template_id = plan.content.template_id if writes_template else ""
                recorded = await self._history.record(caller, update, template_id, planned, deadline)
            await _send(needed, update, session, written)
        except UpdateFailed as failure:
            written.failure = failure
        finally:
            lock.release()
        change_id = await _settle(recorded, planned, written) if recorded is not None else ""
        return _result(plan, update, session, needed, written, change_id)

    async def finish(self, seconds: float) -> None:
        """Lets writes end whose callers have gone away, for so many seconds."""
        await finish(self._writing, seconds)


def _failed(failure: UpdateFailed, update: StepUpdate, session: ProviderSession | None) -> UpdateResult:
    """The result of an update that failed before anything was written."""
    sent = session.requests_sent if session else 0
    problems = with_outcome(
        failure.problems,
        update.provider.title,
        requests_sent=sent,
        in_doubt=update.is_retry and not update.validate_only,
    )
    if isinstance(failure, StepChanged):
        return UpdateResult(problems, provider_calls=sent, etag=str(failure.etag), conflicts=failure.conflicts)
    return UpdateResult(problems, provider_calls=sent)


def _check_preconditions(plan: Plan, update: StepUpdate, session: ProviderSession) -> None:
    """Checks that what is to be written over is what the caller has seen, and that no other step changes with it.

    Raises:
        UpdateFailed: It is not, or another one would, and the caller does not want that.
    """
    if not update.etag and not update.refuse_shared and not update.only_over:
        return
    needed = [write for write in plan.writes if session.is_needed(write)]
    if update.only_over:
        others = [field for write in needed for field in write.fields if not _is_as_left(field, update)]
        if others:
            raise StepChanged(update, others, StepEtag.of(plan.content))
    given, present = StepEtag.parse(update.etag), StepEtag.of(plan.content)
    if given is not None:
        seen = given
        conflicts: list[FieldChange] = []
        for write in needed:
            if _is_of_step(write) and seen.fields != present.fields:
                conflicts += _conflicts(write, plan.content.custom_fields)
                seen = replace(seen, fields=present.fields)
            elif not _is_of_step(write) and seen.template != present.template:
                conflicts += _conflicts(write, plan.content.texts)
                seen = replace(seen, template=present.template)
        if seen != given:
            raise StepChanged(update, conflicts, seen)
    if update.refuse_shared and plan.sharing and not all(map(_is_of_step, needed)):
        raise SharedTemplateRefused(plan.content.template_id, plan.sharing)


def _is_of_step(write: Write) -> bool:
    """Whether a write is of the step's own fields, and not of the template."""
    return write.fields[0].field.startswith(CUSTOM_FIELDS)


def _conflicts(write: Write, present: Mapping[str, JsonValue] | None) -> list[FieldChange]:
    """All that an etag covers of what is written, with what it would have become."""
    wanted = {field.field: field.after for field in write.fields}
    return [FieldChange(name, value, wanted.get(name, value)) for name, value in (present or {}).items()]


def _etag(content: StepContent, update: StepUpdate, needed: Sequence[Write]) -> str:
    """What stands for the step as the caller has seen it, after the writes.

    Where the caller gave an etag, what was neither compared nor set as a whole may be what it has not seen, so that its own
    part stays.
    """
    present = StepEtag.of(content)
    seen = StepEtag.parse(update.etag) if update.etag else None
    if seen is None:
        return "" if present == NOTHING_READ else str(present)
    wrote_template = any(not _is_of_step(write) for write in needed)
    sets_both_texts = update.subject is not None and update.body is not None
    return str(
        StepEtag(
            present.template if wrote_template or sets_both_texts else seen.template,
            present.fields if any(map(_is_of_step, needed)) else seen.fields,
        )
    )


def _unwritten(plan: Plan, update: StepUpdate, session: ProviderSession) -> UpdateResult:
    """The result of a plan that is not carried out: what it would change."""
    needed = [write for write in plan.writes if session.is_needed(write)]
    changes = tuple(field for write in needed for field in _different(write.fields))
    warnings = (*_warnings(plan, will_write=bool(needed)), *_not_as_sent(plan, needed))
    etag = update.etag or _etag(plan.content, update, ())
    return UpdateResult((), warnings, changes, session.requests_sent, etag)


class _Written:
    """What came of the writes of an update.

    Attributes:
        content: What the step holds now.
        changes: What became different, by the provider's answers.
        notes: What the caller should know of it.
        sending: The write that was sent last; None if none was.
        failure: Why not all were carried out; None if they were.
    """

    def __init__(self, content: StepContent) -> None:
        self.content = content
        self.changes: list[FieldChange] = []
        self.notes: list[StepWarning] = []
        self.sending: Write | None = None
        self.failure: UpdateFailed | None = None


async def _send(needed: Sequence[Write], update: StepUpdate, session: ProviderSession, written: _Written) -> None:
    """Sends writes.

    Raises:
        UpdateFailed: One was not carried out, or may not have been.
    """
    for write in needed:
        written.sending = write
        shown = write.stored(await session.write(write.request))
        stored = _as_stored(write, shown)
        written.changes += _different(stored)
        values = {field.field: field.after for field in stored}
        written.content = (
            written.content.with_values({}, values) if _is_of_step(write) else written.content.with_values(values, {})
        )
        written.notes += _check_stored(write, stored, update)
        # Not before: a provider that dropped a text makes nothing else of it, and may take it the next time.
        session.remember(write, stored if shown is not None else None)


async def _settle(recorded: RecordedChange, planned: Sequence[FieldChange], written: _Written) -> str:
    """Notes in the history what became of a change; returns its id, empty if it is known not to have been made."""
    kept = list(written.changes)
    if written.failure is not None and any(each.outcome is Outcome.UNKNOWN for each in written.failure.problems):
        names = {field.field for field in kept}
        sent = written.sending.fields if written.sending is not None else ()
        kept += [field for field in _different(sent) if field.field not in names]
    if written.failure is None:
        state = ChangeState.APPLIED
    else:
        state = ChangeState.PARTIALLY_APPLIED if written.changes else ChangeState.UNKNOWN
    await recorded.settle(state if kept else None, kept if kept != planned else None)
    return recorded.change_id if kept else ""


def _result(
    plan: Plan,
    update: StepUpdate,
    session: ProviderSession,
    needed: Sequence[Write],
    written: _Written,
    change_id: str,
) -> UpdateResult:
    """The result of an update whose writes have ended."""
    changes, notes, sent = written.changes, written.notes, session.requests_sent
    if written.failure is not None:
        problems = with_outcome(
            written.failure.problems,
            update.provider.title,
            requests_sent=sent,
            changed=[change.field for change in changes],
            # What a retry finds as it is wanted may be the work of the earlier attempt.
            in_doubt=update.is_retry and len(needed) < len(plan.writes),
        )
        warnings = (*_warnings(plan, will_write=bool(changes)), *notes) if changes else plan.warnings
        return UpdateResult(problems, warnings, tuple(changes), sent, change_id=change_id)
    warnings = plan.warnings if needed and not changes else _warnings(plan, will_write=bool(needed))
    etag = _etag(written.content, update, needed)
    warnings = (*warnings, *notes, *_not_as_sent(plan, needed))
    return UpdateResult((), warnings, tuple(changes), sent, etag, change_id=change_id)


def _is_as_left(field: FieldChange, update: StepUpdate) -> bool:
    """Whether the provider holds what the change left that is taken back, or already what is to be restored."""
    present = field.before
    return any(
        json_equal(present, value)
        or (
            field.field == BODY
            and isinstance(present, str)
            and isinstance(value, str)
            and same_document(present, value)
        )
        for value in (update.only_over[field.field], field.after)
    )


def _not_as_sent(plan: Plan, needed: Sequence[Write]) -> list[StepWarning]:
    """The warning about fields that were left beside others that were written, since the provider has its form of them."""
    left = [field for write in plan.writes if write not in needed for field in write.fields]
    fields = [field.field for field in left if not json_equal(field.before, field.after)]
    if not needed or not fields:
        return []
    detail = f"The provider already holds what it makes of the value of {', '.join(fields)}."
    return [StepWarning(WarningType.CONTENT_NORMALIZED, detail, {"fields": ",".join(fields)})]


def _warnings(plan: Plan, *, will_write: bool) -> tuple[StepWarning, ...]:
    if will_write:
        return (*plan.warnings, *plan.write_warnings)
    return (*plan.warnings, no_change([field for write in plan.writes for field in write.fields]))


def _different(fields: Sequence[FieldChange]) -> list[FieldChange]:
    return [field for field in fields if not json_equal(field.before, field.after)]


def _as_stored(write: Write, stored: Mapping[str, JsonValue] | None) -> list[FieldChange]:
    """The fields of a write with what the provider now holds."""
    if stored is None:
        return list(write.fields)
    return [
        FieldChange(field.field, field.before, _shown(field, stored[field.field]), is_new=field.is_new)
        for field in write.fields
    ]


def _shown(field: FieldChange, value: JsonValue) -> JsonValue:
    """What a provider holds, which may show a body with elements around it in one response and without in another."""
    is_as_before = (
        field.field == BODY
        and isinstance(field.before, str)
        and isinstance(value, str)
        # The same document that was sent, and comes back in a wrapper, was put into it by this write.
        and value != field.after
        and not (isinstance(field.after, str) and same_document(field.before, field.after))
        and same_document(field.before, value)
    )
    return field.before if is_as_before else value


def _check_stored(write: Write, stored: Sequence[FieldChange], update: StepUpdate) -> list[StepWarning]:
    """The warnings about what the provider stored differently from what it was sent.

    Raises:
        UpdateFailed: It kept a text of the template as it was, though another one was sent.
    """
    odd = [(sent, now) for sent, now in zip(write.fields, stored, strict=True) if not json_equal(sent.after, now.after)]
    kept = [sent.field for sent, now in odd if _was_dropped(sent, now)]
    title = update.provider.title
    if kept:
        raise failed(
            ErrorCode.BAD_GATEWAY_ERROR,
            f"{title} answered that the write was carried out, and shows {', '.join(kept)} as before: it kept the old text.",
            f"Look at the step in {title}, and report it with the id of this error.",
            origin=Origin.PROVIDER,
            outcome=Outcome.UNKNOWN,
        )
    fields = ",".join(sent.field for sent, _ in odd)
    cleaned = [sent.field for sent, now in odd if not json_equal(now.before, now.after)]
    same = [sent.field for sent, now in odd if json_equal(now.before, now.after)]
    warnings = []
    if cleaned:
        warnings.append(
            f"{title} stored {', '.join(cleaned)} differently from what was sent; `changes` shows what it holds."
        )
    if same:
        warnings.append(
            f"{title} holds {', '.join(same)} as before: it ignores or cleans away what is new in the value."
        )
    return [StepWarning(WarningType.CONTENT_NORMALIZED, " ".join(warnings), {"fields": fields})] if warnings else []


def _was_dropped(sent: FieldChange, now: FieldChange) -> bool:
    """Whether the provider kept the old text of a template in the place of another one.

    A body that reads the same as before may have been cleaned to what was there; a subject is not cleaned.
    """
    if sent.field.startswith(CUSTOM_FIELDS) or not json_equal(now.before, now.after):
        return False
    if sent.field != BODY:
        return True
    before, after = sent.before, sent.after
    if not isinstance(before, str) or not isinstance(after, str):
        return True
    was = visible_text(before)
    return was is None or was != visible_text(after)
