"""Whether a connection works: one cheap read at its provider."""

from service.domain.credentials import Connection
from service.domain.deadline import Deadline
from service.domain.errors import Problem, UpdateFailed
from service.providers.adapter import ProviderAdapter
from service.upstream.guard import ProviderGuard
from service.upstream.old_http import Upstream
from service.upstream.session import ProviderSession


class ConnectionCheck:
    """Checks connections to one provider."""

    def __init__(self, adapter: ProviderAdapter, upstream: Upstream) -> None:
        self._adapter = adapter
        self._upstream = upstream

    async def check(self, connection: Connection, deadline: Deadline) -> tuple[Problem, ...]:
        """What is wrong with a connection: key scope, plan, expired, revoked; empty if it works.

        Makes one call. A token that has expired is a problem here; it is not renewed.
        """
        calls = ProviderSession(
            self._upstream, self._adapter, ProviderGuard(self._adapter.provider), connection, _keep, deadline
        )
        try:
            await calls.read(self._adapter.probe())
        except UpdateFailed as failure:
            return failure.problems
        return ()


async def _keep(connection: Connection, deadline: Deadline) -> Connection:  # noqa: ARG001  # the shape of Renew
    return connection
