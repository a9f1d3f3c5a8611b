"""What every provider module offers, and the data that passes between it and the use case."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from service.domain.credentials import Connection, Credentials, Secret
from service.domain.errors import Problem, Violation
from service.domain.json_value import JsonValue
from service.domain.step import FieldChange, Provider, StepUpdate, StepWarning


class RateWindow(msgspec.Struct, frozen=True):
    """One window of a rate limit, as an answer describes it.

    Attributes:
        name: Which one, as the provider names it.
        left: Calls that are left in it.
        length: Its length in seconds.
        ends_in: Seconds until it is over; None if not told.
    """

    name: str
    left: int
    length: float
    ends_in: float | None = None


class ProviderRequest(msgspec.Struct, frozen=True):
    """One request to a provider's API.

    Attributes:
        method: The HTTP method.
        path: The path below the provider's base URL, percent-encoded, with its query.
        endpoint: The operation as the provider names it, the same for every id; rate limits are counted by it.
        needs: What the credentials must allow for it, for messages (`templates.write`).
        body: The JSON to send, encoded; None for none.
    """

    method: str
    path: str
    endpoint: str
    needs: str
    body: bytes | None = None


class ProviderResponse(msgspec.Struct, frozen=True):
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: The headers; look-ups ignore case.
        body: The body, decompressed.
        secrets: What must not be shown of it: the credentials that the request was made with, should they be echoed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: tuple[Secret, ...] = ()


class Write(msgspec.Struct, frozen=True):
    """One write of a plan.

    Attributes:
        request: What to send.
        changes: What it is meant to change.
        stored: Reads the provider's answer into what it now holds, by the fields of `changes`. A field that the answer
            does not show is left out. Raises UpdateFailed if the answer makes no sense.
    """

    request: ProviderRequest
    changes: tuple[FieldChange, ...]
    stored: Callable[[ProviderResponse], Mapping[str, JsonValue]]


class Plan(msgspec.Struct, frozen=True):
    """What an update comes to, given what the provider holds.

    Attributes:
        writes: What to write, in order; empty if the provider already holds it all.
        warnings: What the caller should know.
    """

    writes: tuple[Write, ...] = ()
    warnings: tuple[StepWarning, ...] = ()


class Calls(Protocol):
    """Reads of one update at its provider: authenticated, counted, within the deadline."""

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        """Sends a read and returns its good answer.

        Raises:
            UpdateFailed: The provider could not be reached, or refused.
        """


class ProviderAdapter(Protocol):
    """What one provider does, and how.

    Everything but `plan` is pure; `plan` reads, and leaves the decision to pure functions.
    """

    provider: Provider
    base_url: str

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        """The parts of the update that can be refused without asking the provider."""

    def headers(self, credentials: Credentials) -> Mapping[str, str]:
        """The headers of every request, with the credentials in them."""

    def problems(
        self, request: ProviderRequest, answer: ProviderResponse, connection: Connection
    ) -> tuple[Problem, ...]:
        """What is wrong with an answer, without the answer's secrets; empty if it is a good one."""

    def rate_scope(self, request: ProviderRequest) -> str:
        """What the provider counts the request under: calls of one customer with the same scope share their windows."""

    def rate_windows(self, answer: ProviderResponse) -> Sequence[RateWindow]:
        """What an answer tells about rate limits."""

    async def plan(self, update: StepUpdate, calls: Calls) -> Plan:
        """Finds out what the update comes to.

        Raises:
            UpdateFailed: The step cannot be found or changed, or the provider refused a read.
        """

    def probe(self) -> ProviderRequest:
        """A cheap read that shows whether a connection works."""
