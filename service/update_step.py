"""The one use case: a caller's update becomes the fewest calls at a provider, and a truthful result."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from service.domain import validation
from service.domain.credentials import Connection
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Outcome, Problem, UpdateFailed, failed, invalid
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
from service.providers.adapter import Plan, ProviderAdapter
from service.providers.planning import nothing_named, without_writes
from service.tasks import finish
from service.upstream.guard import ProviderGuard
from service.upstream.old_http import Upstream
from service.upstream.sequence_lock import SequenceUpdates
from service.upstream.session import ProviderSession


class Connections(Protocol):
    """Where the credentials of customers come from; `service.connections` says what each method promises."""

    async def usable(self, application_id: int, customer_id: str, provider: Provider, deadline: Deadline) -> Connection:
        """The customer's connection, with credentials that are good to use."""

    async def renewed(self, connection: Connection, deadline: Deadline) -> Connection:
        """The connection with new credentials, after the provider refused the present ones."""


class UpdateStep:
    """Changes one step of one sequence for one customer.

    Two provider calls for a change of the template, one for an update that changes nothing, none for what can be refused
    here; custom fields add a write, and a look for an explanation adds a read. Updates of one sequence that come at once
    share what they read. Reads end when the caller goes away; a write that was begun is finished, since abandoning it would
    leave its outcome in the dark.
    """

    def __init__(
        self,
        adapters: Mapping[Provider, ProviderAdapter],
        connections: Connections,
        upstream: Upstream,
    ) -> None:
        self._adapters = adapters
        self._connections = connections
        self._upstream = upstream
        self._guards = {provider: ProviderGuard(provider) for provider in adapters}
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
        adapter = self._adapters.get(update.provider)
        violations = [*validation.violations(update), *(adapter.violations(update) if adapter else ())]
        if violations:
            raise invalid(violations)
        if adapter is None:
            return UpdateResult((_not_supported(update.provider),))
        if update.is_empty:
            return UpdateResult(warnings=(nothing_named(),))
        try:
            connection = await self._connections.usable(
                caller.application_id, update.customer_id, update.provider, deadline
            )
        except UpdateFailed as failure:
            return UpdateResult(failure.problems)
        guard = self._guards[update.provider]
        calls = ProviderSession(self._upstream, adapter, guard, connection, self._connections.renewed, deadline)
        work = _Work(adapter, update, calls, guard.updates_of(connection.id, update.sequence_id), deadline)
        try:
            plan = await work.plan()
            if update.validate_only or not plan.writes:
                planned = tuple(change for write in plan.writes for change in write.changes)
                return UpdateResult((), plan.warnings, planned, calls.count)
            plan = await work.take_turn(plan)
        except UpdateFailed as failure:
            return UpdateResult(failure.problems, provider_calls=calls.count)
        writing = asyncio.create_task(work.carry_out(plan))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await asyncio.shield(writing)

    async def finish(self, seconds: float) -> None:
        """Lets writes end whose callers have gone away, for so many seconds."""
        await finish(self._writing, seconds)


class _Work:
    """One update at its provider: planned, and carried out when it is its turn."""

    def __init__(
        self,
        adapter: ProviderAdapter,
        update: StepUpdate,
        calls: ProviderSession,
        sequence: SequenceUpdates,
        deadline: Deadline,
    ) -> None:
        self._adapter = adapter
        self._update = update
        self._calls = calls
        self._sequence = sequence
        self._deadline = deadline
        self._reads = sequence.reads(calls, deadline)

    async def plan(self) -> Plan:
        """Reads, and decides what the update comes to.

        Raises:
            UpdateFailed: The step cannot be found or changed, or the provider refused a read.
        """
        return await self._adapter.plan(self._update, self._reads)

    async def take_turn(self, plan: Plan) -> Plan:
        """Waits until other writes to the sequence are done; the plan, made anew if that took long.

        Raises:
            UpdateFailed: They last too long, or the step cannot be changed any more.
        """
        await self._sequence.take_turn(self._deadline)
        if not self._reads.are_stale():
            return plan
        try:
            self._reads = self._sequence.reads(self._calls, self._deadline)
            return await self.plan()
        except BaseException:
            self._sequence.end_turn()
            raise

    async def carry_out(self, plan: Plan) -> UpdateResult:
        """Sends the writes of a plan, and ends the turn."""
        try:
            return await self._write_all(plan)
        finally:
            self._sequence.end_turn()

    async def _write_all(self, plan: Plan) -> UpdateResult:
        changes: list[FieldChange] = []
        warnings = list(plan.warnings)
        writes = [self._sequence.still_to_do(write, self._reads) for write in plan.writes]
        if not any(write.changes for write in writes):
            return UpdateResult((), without_writes(plan.warnings), (), self._calls.count)
        for write in writes:
            if not write.changes:
                continue
            self._sequence.begins(write)
            try:
                held = write.stored(await self._calls.write(write.request))
            except UpdateFailed as failure:
                problems = tuple(_after(changes, problem) for problem in failure.problems)
                return UpdateResult(problems, tuple(warnings), tuple(changes), self._calls.count)
            changed = [_as_stored(change, held) for change in write.changes]
            self._sequence.ended(write, changed)
            changes += changed
            warnings += _normalized(write.changes, changed)
        return UpdateResult((), tuple(warnings), tuple(changes), self._calls.count)


def _as_stored(change: FieldChange, stored: Mapping[str, object]) -> FieldChange:
    """A change with what the provider now holds.

    A template's text that the answer does not show is taken to be as sent; a custom field that it does not show is not
    there, since providers ignore names that they do not know.
    """
    held = stored.get(change.field, None if change.field.startswith(CUSTOM_FIELDS) else change.after)
    return change if held is change.after else FieldChange(change.field, change.before, held)


def _normalized(sent: Sequence[FieldChange], held: Sequence[FieldChange]) -> list[StepWarning]:
    different = [each.field for each, now in zip(sent, held, strict=True) if not json_equal(each.after, now.after)]
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


def _not_supported(provider: Provider) -> Problem:
    return failed(
        ErrorCode.NOT_IMPLEMENTED_ERROR,
        f"{provider.title} has no operation that changes the template of one step, so nothing was changed and nothing was "
        f"asked of it. Change the step in {provider.title} itself.",
    ).problems[0]
