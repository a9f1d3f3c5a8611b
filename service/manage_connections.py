"""The use case of the calls on connections: an application sets, reads, tries and deletes those of its customers.

It deletes the history of a customer too.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from service.connections import ConnectionAdministration, Connections, StoreUnavailable
from service.connections.errors import ConnectionUnavailable, NoConnection
from service.domain.credentials import ConnectionKey, ConnectionState, ConnectionSummary
from service.domain.deadline import Deadline
from service.domain.errors import CallRefused, ErrorCode, Problem, UpdateFailed, Violation, invalid
from service.domain.given_credentials import GivenCredentials, InvalidCredentials, credentials_of
from service.domain.outcome import stated
from service.domain.step import Caller, Provider
from service.history import HistoryAdministration
from service.history.errors import HistoryUnavailable
from service.providers import credential_kinds, unsupported
from service.upstream.connection_check import check_connection
from service.upstream.session import ProviderSessions

log: Final = structlog.get_logger("service.connections")


class ManageConnections:
    """Manages the connections of one application at a time.

    Every method raises `UpdateFailed` if it could not be carried out, for example while the database cannot be used.
    """

    def __init__(
        self,
        administration: ConnectionAdministration,
        connections: Connections,
        sessions: Mapping[Provider, ProviderSessions],
        history: HistoryAdministration,
    ) -> None:
        """Makes the use case.

        Args:
            administration: Stores and lists connections.
            connections: What calls of this process remember of them.
            sessions: How each provider is called that can be updated.
            history: Deletes what is kept of changes, also where none is kept any more.
        """
        self._administration = administration
        self._connections = connections
        self._sessions = sessions
        self._history = history

    async def set(
        self, caller: Caller, key: ConnectionKey, given: GivenCredentials, request_id: str, *, validate_only: bool
    ) -> tuple[ConnectionSummary | None, bool]:
        """Stores a customer's credentials, unless they are those that were set last.

        Args:
            caller: Who asks.
            key: Which connection.
            given: The credentials.
            request_id: The id of the call, for the log.
            validate_only: Check them, and store nothing.

        Returns:
            The connection now, None if there is none, and whether the credentials were stored.

        Raises:
            CallRefused: They cannot be used, or the provider has no use for any.
        """
        kinds = credential_kinds(key.provider)
        if not kinds:
            raise CallRefused(Problem(ErrorCode.NOT_IMPLEMENTED_ERROR, unsupported()[key.provider]))
        try:
            credentials = credentials_of(key.provider, kinds, given)
        except InvalidCredentials as error:
            raise invalid([Violation(error.member or "credentials", f"{error}.")]) from None
        changed = False
        try:
            if not validate_only:
                changed = await self._administration.set_once(
                    key.application_id, key.customer_id, key.provider, credentials
                )
        except StoreUnavailable:
            raise ConnectionUnavailable from None
        if changed:
            self._changed("set", caller, key, request_id)
        return await self.find(key), changed

    async def find(self, key: ConnectionKey) -> ConnectionSummary | None:
        """Reads a connection; None if there is none."""
        try:
            return await self._administration.find(key.application_id, key.customer_id, key.provider)
        except StoreUnavailable:
            raise ConnectionUnavailable from None

    async def existing(self, key: ConnectionKey) -> ConnectionSummary:
        """Reads a connection.

        Raises:
            NoConnection: There is none.
        """
        found = await self.find(key)
        if found is None:
            raise NoConnection(key)
        return found

    async def page(
        self,
        application_id: int,
        limit: int,
        *,
        after: tuple[str, str] | None = None,
        customer_id: str | None = None,
        provider: Provider | None = None,
        state: ConnectionState | None = None,
    ) -> Sequence[ConnectionSummary]:
        """Lists connections by customer and provider, as `ConnectionAdministration.page` says."""
        try:
            return await self._administration.page(
                application_id, limit, after=after, customer_id=customer_id, provider=provider, state=state
            )
        except StoreUnavailable:
            raise ConnectionUnavailable from None

    async def check(self, key: ConnectionKey, deadline: Deadline) -> tuple[Sequence[Problem], ConnectionSummary]:
        """Tries a connection by one cheap read at its provider, its token renewed first where that is due.

        Returns:
            Why it does not work, nothing if it does; and the connection after it.

        Raises:
            NoConnection: There is none.
        """
        await self.existing(key)
        problems: Sequence[Problem] = ()
        try:
            connection = await self._connections.retried(key.application_id, key.customer_id, key.provider, deadline)
            sessions = self._sessions[key.provider]
            problems = await check_connection(sessions, connection, self._connections.renewed, deadline)
        except UpdateFailed as failure:
            problems = failure.problems
        return [stated(problem) for problem in problems], await self.existing(key)

    async def delete(self, caller: Caller, key: ConnectionKey, request_id: str) -> bool:
        """Deletes a connection with its credentials; returns whether there was one."""
        try:
            deleted = await self._administration.delete(key.application_id, key.customer_id, key.provider)
        except StoreUnavailable:
            raise ConnectionUnavailable from None
        if deleted:
            self._changed("deleted", caller, key, request_id)
        return deleted

    async def delete_step_changes(
        self, caller: Caller, customer_id: str, provider: Provider | None, request_id: str
    ) -> int:
        """Deletes the history of a customer, at one provider or at all; returns how many changes that were."""
        deleted = 0
        try:
            async for count in self._history.delete(caller.application_id, customer_id, provider):
                deleted += count
        except StoreUnavailable:
            raise HistoryUnavailable from None
        finally:
            # Also where the call ends before all are: those that were deleted are gone.
            if deleted:
                log.info(
                    "history deleted",
                    changes=deleted,
                    application=caller.application_name,
                    customer=customer_id,
                    provider=str(provider or "all"),
                    request_id=request_id,
                )
        return deleted

    def _changed(self, action: str, caller: Caller, key: ConnectionKey, request_id: str) -> None:
        self._connections.forget(key.application_id, key.customer_id, key.provider)
        log.info(
            "connection changed",
            action=action,
            application=caller.application_name,
            customer=key.customer_id,
            provider=str(key.provider),
            request_id=request_id,
        )
