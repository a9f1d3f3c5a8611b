"""The use case of reading: a sequence, or one of its steps, as the provider shows it now."""

import asyncio
from collections.abc import Mapping

from service.domain import validation
from service.domain.deadline import Deadline
from service.domain.errors import ErrorCode, Problem, UpdateFailed, invalid
from service.domain.outcome import with_outcome
from service.domain.sequence import SequenceResult, StepQuery
from service.domain.step import Caller, Provider
from service.update_step import Connections, UpdateAbandoned
from service.upstream.session import ProviderSession, ProviderSessions


class ReadSteps:
    """Reads the steps of a sequence for one customer. Takes no lock: what it tells may be changed a moment later."""

    def __init__(self, sessions: Mapping[Provider, ProviderSessions], connections: Connections) -> None:
        """Makes the use case.

        Args:
            sessions: How each provider is called whose steps can be read.
            connections: Where credentials come from.
        """
        self._sessions = sessions
        self._connections = connections

    async def __call__(self, caller: Caller, query: StepQuery, deadline: Deadline) -> SequenceResult:
        """Reads what is asked for.

        Args:
            caller: Who asks.
            query: What it wants.
            deadline: When the result must be there.

        Returns:
            What was read; a failure at the provider is in `problems`.

        Raises:
            CallRefused: The query breaks a rule; no provider was called.
            UpdateAbandoned: The caller went away.
        """
        sessions = self._sessions.get(query.provider)
        violations = validation.id_violations(query, is_sequence=not query.names_step)
        if sessions is not None:
            violations += sessions.adapter.id_violations(query)
        if violations:
            raise invalid(violations)
        if sessions is None:
            title = query.provider.title
            detail = f"This service neither changes nor reads steps at {title}. Look at the step in {title} itself."
            return SequenceResult((Problem(ErrorCode.NOT_IMPLEMENTED_ERROR, detail),))
        session: ProviderSession | None = None
        try:
            connection = await self._connections.usable(
                caller.application_id, query.customer_id, query.provider, deadline
            )
            session = sessions.open(connection, self._connections.renewed, deadline)
            sequence = await sessions.adapter.read(query, session)
        except UpdateFailed as failure:
            sent = session.requests_sent if session else 0
            problems = with_outcome(failure.problems, query.provider.title, requests_sent=sent)
            return SequenceResult(problems, provider_calls=sent)
        except asyncio.CancelledError:
            raise UpdateAbandoned(session) from None
        return SequenceResult(sequence=sequence, query=query, provider_calls=session.requests_sent)
