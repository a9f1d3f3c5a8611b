"""Checks a connection by one cheap read at its provider."""

from service.domain.credentials import Connection
from service.domain.deadline import Deadline
from service.domain.errors import Problem, UpdateFailed
from service.upstream.session import ProviderSessions, Renew


async def check_connection(
    sessions: ProviderSessions, connection: Connection, renew: Renew, deadline: Deadline
) -> tuple[Problem, ...]:
    """Finds out what is wrong with a connection: key scope, plan, expired, revoked; empty if it works.

    Sends one request, and, as an update does, another one with a renewed token if the provider refuses the present one.
    """
    session = sessions.open(connection, renew, deadline)
    try:
        await session.read(sessions.adapter.probe())
    except UpdateFailed as failure:
        return failure.problems
    return ()
