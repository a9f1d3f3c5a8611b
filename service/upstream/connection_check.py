"""Whether a connection works: one cheap read at its provider."""

from service.domain.credentials import Connection
from service.domain.deadline import Deadline
from service.domain.errors import Problem, UpdateFailed
from service.upstream.session import ProviderSessions


async def check_connection(
    sessions: ProviderSessions, connection: Connection, deadline: Deadline
) -> tuple[Problem, ...]:
    """What is wrong with a connection: key scope, plan, expired, revoked; empty if it works.

    Sends one request. A token that has expired is a problem here; it is not renewed.
    """
    session = sessions.open(connection, _keep, deadline)
    try:
        await session.read(sessions.adapter.probe())
    except UpdateFailed as failure:
        return failure.problems
    return ()


async def _keep(connection: Connection, _: Deadline) -> Connection:
    return connection
