"""Finds out which application makes a call, by its API key or its client certificate."""

from collections.abc import Sequence
from typing import Protocol

from service.api import contract, metadata
from service.domain.deadline import Deadline
from service.domain.errors import Violation
from service.domain.step import Caller


class Applications(Protocol):
    """Who may call; `service.connections` says what each method promises."""

    async def authenticate(self, api_key: str | None, deadline: Deadline) -> Caller:
        """The application that has the key."""

    async def by_certificate(self, identities: Sequence[str], deadline: Deadline) -> Caller:
        """The application that a verified client certificate stands for."""


class WithCertificate(Protocol):
    """A call that may have come with a client certificate."""

    def certificate_names(self) -> Sequence[str]:
        """The names in a client certificate that TLS has verified; empty without one."""


async def authenticated(
    applications: Applications,
    call: WithCertificate,
    values: dict[str, str],
    violations: Sequence[Violation],
    deadline: Deadline,
) -> Caller:
    """The application that makes a call; its key counts, and only without one its certificate.

    Args:
        applications: Who may call.
        call: The call.
        values: Its metadata, as `service.api.metadata` gathers it.
        violations: What is wrong with that.
        deadline: When it must be known.

    Raises:
        CallRefused: It is not known.
    """
    key = metadata.api_key(values)
    if key is None and not any(violation.field == contract.API_KEY for violation in violations):
        names = call.certificate_names()
        if names:
            return await applications.by_certificate(names, deadline)
    return await applications.authenticate(key.reveal() if key else None, deadline)
