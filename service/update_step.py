"""The one use case: a caller's update becomes the fewest requests to a provider, and a true result."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from service.domain import validation
from service.domain.credentials import Connection
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Outcome, Problem, UpdateFailed, invalid
from service.domain.json_value import json_equal
from service.domain.step import (
    CUSTOM_FIELDS,
    Caller,
    FieldChange,
    Provider,
    StepUpdate,
    StepWarning,
    UpdateResult,
    WarningType,
)
from service.providers.adapter import Plan, Write
from service.providers.planning import nothing_named
from service.tasks import finish
from service.upstream.sequence_lock import SequenceLock
from service.upstream.session import ProviderSession, ProviderSessions


class Connections(Protocol):
    """Where the credentials of customers come from; `service.connections` says what each method promises."""

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        """The customer's connection, with credentials that are good to use."""

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """The connection with new credentials, after the provider refused the present ones."""


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
    ) -> None:
        """Makes the use case.

        Args:
            sessions: How each provider is called that can be updated.
            unsupported: Why each of the others cannot.
            connections: Where credentials come from.
        """
        self._sessions = sessions
        self._unsupported = unsupported
        self._connections = connections
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
        """
        sessions = self._sessions.get(update.provider)
        violations = [*validation.violations(update), *(sessions.adapter.violations(update) if sessions else ())]
        if violations:
            raise invalid(violations)
        if sessions is None:
            return UpdateResult((Problem(ErrorCode.NOT_IMPLEMENTED_ERROR, self._unsupported[update.provider]),))
        if update.is_empty:
            return UpdateResult(warnings=(nothing_named(),))
        try:
            connection = await self._connections.usable(
                caller.application_id, update.customer_id, update.provider, deadline
            )
        except UpdateFailed as failure:
            return UpdateResult(failure.problems)
        session = sessions.open(connection, self._connections.renewed, deadline)
        try:
            if update.validate_only:
                return _unwritten(await sessions.adapter.plan(update, session), session)
            lock = sessions.locks.of(connection.id, update.sequence_id)
            await lock.acquire_until(deadline, update.sequence_id)
            try:
                plan = await sessions.adapter.plan(update, session)
            except BaseException:
                lock.release()
                raise
        except UpdateFailed as failure:
            return UpdateResult(failure.problems, provider_calls=session.requests_sent)
        writing = asyncio.create_task(_write(plan, session, lock))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await asyncio.shield(writing)

    async def finish(self, seconds: float) -> None:
        """Lets writes end whose callers have gone away, for so many seconds."""
        await finish(self._writing, seconds)


def _unwritten(plan: Plan, session: ProviderSession) -> UpdateResult:
    """The result of a plan that is not carried out: what it would change."""
    changes = tuple(field for write in plan.writes for field in _different(write.fields))
    return UpdateResult((), plan.warnings, changes, session.requests_sent)


async def _write(plan: Plan, session: ProviderSession, lock: SequenceLock) -> UpdateResult:
    """Sends the writes of a plan, and releases the lock of its sequence."""
    changes: list[FieldChange] = []
    warnings = list(plan.warnings)
    try:
        for write in plan.writes:
            try:
                stored = _as_stored(write, write.stored(await session.write(write.request)))
            except UpdateFailed as failure:
                problems = tuple(_after(changes, problem) for problem in failure.problems)
                return UpdateResult(problems, tuple(warnings), tuple(changes), session.requests_sent)
            changes += _different(stored)
            warnings += _normalized(write.fields, stored)
    finally:
        lock.release()
    return UpdateResult((), tuple(warnings), tuple(changes), session.requests_sent)


def _different(fields: Sequence[FieldChange]) -> list[FieldChange]:
    return [field for field in fields if not json_equal(field.before, field.after)]


def _as_stored(write: Write, stored: Mapping[str, object]) -> list[FieldChange]:
    """The fields of a write with what the provider now holds.

    A template's text that the response does not show is taken to be as sent; a custom field that it does not show is not
    there, since providers ignore names that they do not know.
    """
    return [
        FieldChange(
            field.field,
            field.before,
            stored.get(field.field, None if field.field.startswith(CUSTOM_FIELDS) else field.after),
        )
        for field in write.fields
    ]


def _normalized(sent: Sequence[FieldChange], stored: Sequence[FieldChange]) -> list[StepWarning]:
    different = [each.field for each, now in zip(sent, stored, strict=True) if not json_equal(each.after, now.after)]
    if not different:
        return []
    return [
        StepWarning(
            WarningType.CONTENT_NORMALIZED,
            f"The provider stored {', '.join(different)} differently from what was sent; `changes` shows what it holds.",
        )
    ]


def _after(applied: Sequence[FieldChange], problem: Problem) -> Problem:
    if not applied:
        return problem
    names = ", ".join(change.field for change in applied)
    return replace(
        problem,
        outcome=Outcome.PARTIALLY_APPLIED,
        detail=f"{problem.detail} Before that, {names} had been changed; repeating the call does the rest.",
    )
