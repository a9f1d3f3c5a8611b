"""A call handler for tests of the servers, in front of a use case that does as the test says."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.api.admission import Admission
from service.api.call_handler import CallHandler
from service.api.deadline_policy import DeadlinePolicy
from service.domain.deadline import Deadline
from service.domain.errors import Problem, unauthenticated
from service.domain.sequence import SequenceResult, ShownSequence, ShownStep, ShownVariant, StepQuery
from service.domain.step import Caller, StepUpdate, UpdateResult
from service.observability.call_log import CallRecord
from service.step_history import Changes, StepHistory

UseCase = Callable[[Caller, StepUpdate, Deadline], Awaitable[UpdateResult]]


class FakeApplications:
    """Knows the keys `good` and `other`, and the certificate of `billing.example`."""

    def __init__(self) -> None:
        self.certificate_names: list[str] = []

    async def authenticate(self, api_key: str | None, deadline: Deadline | None = None) -> Caller:
        if api_key not in ("good", "other"):
            raise unauthenticated()
        return Caller(1, "billing") if api_key == "good" else Caller(3, "other")

    async def by_certificate(self, identities: Sequence[str], deadline: Deadline | None = None) -> Caller:
        self.certificate_names.extend(identities)
        if "billing.example" not in identities:
            raise unauthenticated()
        return Caller(2, "billing-by-certificate")


def shown(query: StepQuery) -> SequenceResult:
    """A sequence with one step that has one variant."""
    texts = {"template.subject": "Hi", "template.body": "<p>Hi</p>"}
    variant = ShownVariant("1", "18", texts, is_live=True, is_reply=False, is_archived=False, is_default=True)
    step = ShownStep(query.sequence_step_id or "2", "auto_email", 1, 3600, (variant,), {"note": None})
    sequence = ShownSequence(query.sequence_id, "Spring", is_enabled=True, is_archived=False, steps=(step,))
    return SequenceResult(sequence=sequence, query=query, provider_calls=1)


class FakeService:
    """What a server is put in front of, and what it was asked for."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        self.updates: list[StepUpdate] = []
        self.queries: list[StepQuery] = []
        self.read_result: Callable[[StepQuery], SequenceResult] = shown
        self.callers: list[Caller] = []
        self.deadlines: list[float] = []
        self.admission = Admission(4)
        self.applications = FakeApplications()
        self.policy = DeadlinePolicy()
        self.use_case: UseCase = self.succeed
        self.history: Changes | None = None

    @property
    def caller_names(self) -> list[str]:
        return [caller.application_name for caller in self.callers]

    def call_handler(self) -> CallHandler:
        return CallHandler(
            self._run,
            self._read,
            StepHistory(self.history, self._run),
            *(self.applications, [self], self.policy, self.admission),
        )

    def record(self, record: CallRecord) -> None:
        self.records.append(record)

    async def succeed(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        return UpdateResult(provider_calls=2)

    async def _run(self, caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
        self.callers.append(caller)
        self.updates.append(update)
        self.deadlines.append(deadline.remaining())
        return await self.use_case(caller, update, deadline)

    async def _read(self, caller: Caller, query: StepQuery, deadline: Deadline) -> SequenceResult:
        self.callers.append(caller)
        self.queries.append(query)
        self.deadlines.append(deadline.remaining())
        return self.read_result(query)

    def failing(self, *problems: Problem, **more: Any) -> None:
        """Lets the use case fail with problems."""

        async def fail(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            return UpdateResult(problems, **more)

        self.use_case = fail

    def raising(self, error: BaseException) -> None:
        """Lets the use case raise an error."""

        async def fail(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            raise error

        self.use_case = fail

    def wait_for(self, release: asyncio.Event) -> None:
        """Lets the use case succeed once the event is set."""

        async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            await release.wait()
            return UpdateResult()

        self.use_case = wait

    def waiting(self) -> asyncio.Event:
        """Lets the use case wait; the event is set when a call has come so far."""
        started = asyncio.Event()

        async def wait(caller: Caller, update: StepUpdate, deadline: Deadline) -> UpdateResult:
            started.set()
            await asyncio.Event().wait()
            return UpdateResult()

        self.use_case = wait
        return started
