"""Whether a connection works: one cheap read at its provider."""

from service.errors import UpdateFailed
from service.model import Connection, Deadline, Problem
from service.providers.calls import ProviderCalls
from service.providers.guard import ProviderGuard
from service.providers.provider import ProviderAdapter
from service.providers.upstream import Upstream


class ConnectionCheck:
    """Checks connections to one provider."""

    def __init__(self, adapter: ProviderAdapter, upstream: Upstream) -> None:
        self._adapter = adapter
        self._upstream = upstream

    async def check(self, connection: Connection, deadline: Deadline) -> tuple[Problem, ...]:
        """What is wrong with a connection: key scope, plan, expired, revoked; empty if it works.

        Makes one call. A token that has expired is a problem here; it is not renewed.
        """
        calls = ProviderCalls(
            self._upstream, self._adapter, ProviderGuard(self._adapter.provider), connection, _keep, deadline
        )
        try:
            await calls.read(self._adapter.probe())
        except UpdateFailed as failure:
            return failure.problems
        return ()


async def _keep(connection: Connection, deadline: Deadline) -> Connection:  # noqa: ARG001  # the shape of Renew
    return connection
