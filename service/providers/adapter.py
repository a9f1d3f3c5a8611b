"""What every provider module offers, and the data that passes between it and the rest of the service."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol, TypeAlias

import msgspec

from service.domain.credentials import Connection, Credentials, Secret
from service.domain.errors import Problem, Violation
from service.domain.etag import StepContent
from service.domain.json_value import JsonValue
from service.domain.sequence import ShownSequence, StepQuery
from service.domain.step import FieldChange, Provider, StepRef, StepUpdate, StepWarning


class RateWindow(msgspec.Struct, frozen=True):
    """One window of a rate limit, as a response describes it.

    Attributes:
        name: Which one, as the provider names it.
        left: Calls that are left in it.
        length: Its length in seconds.
        ends_in: Seconds until it is over; None if the response does not say.
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
    """What a provider answered.

    Attributes:
        status: The HTTP status.
        headers: The headers, with names in lower case.
        body: The body, decompressed.
        secrets: What must not be shown of it: the credentials that the request was made with, should they be echoed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: tuple[Secret, ...] = ()


class ResponseFailure(msgspec.Struct, frozen=True):
    """A response that is not a good one.

    Attributes:
        problems: What is wrong, at least one.
        by_provider: Whether the provider itself answered, and not a proxy or an edge in front of it.
        refused: Whether the request cannot have had an effect.
        may_pass: Whether the same request may succeed in a moment.
        credentials_refused: Whether the provider did not accept the credentials, so that renewed ones may help.
    """

    problems: tuple[Problem, ...]
    by_provider: bool
    refused: bool
    may_pass: bool
    credentials_refused: bool = False


class Write(msgspec.Struct, frozen=True):
    """One write of a plan.

    All fields that the caller named are sent together, also those that the provider holds already: a write that raced
    with another one then leaves what one of the two callers asked for, and never a mixture.

    Attributes:
        request: What to send.
        fields: Each field that is sent, with what the provider holds and what it is to hold.
        stored: Reads the provider's response into what it now holds, by the names in `fields`; None for a response without
            a record, by which the provider's protocol says that all is as sent. Raises UpdateFailed if the response does
            not confirm the write.
    """

    request: ProviderRequest
    fields: tuple[FieldChange, ...]
    stored: Callable[[ProviderResponse], Mapping[str, JsonValue] | None]


class Plan(msgspec.Struct, frozen=True):
    """What an update comes to, given what the provider holds.

    Attributes:
        writes: What to write, in order, each unless the provider already holds it all.
        warnings: What the caller should know in any case.
        write_warnings: What the caller should know if something is written.
        content: What the step holds that an update could overwrite.
        sharing: The other steps that are known to use the template of the first write.
    """

    writes: tuple[Write, ...] = ()
    warnings: tuple[StepWarning, ...] = ()
    write_warnings: tuple[StepWarning, ...] = ()
    content: StepContent = StepContent()
    sharing: tuple[str, ...] = ()


class Reader(Protocol):
    """Reads for one update at its provider: authenticated, counted, within the deadline."""

    async def read(self, request: ProviderRequest) -> ProviderResponse:
        """Sends a read and returns the provider's good response.

        Raises:
            UpdateFailed: The provider could not be reached, or refused.
        """

    def is_needed(self, write: Write) -> bool:
        """Whether the provider does not hold yet what the write would leave."""


class UrlSetting(msgspec.Struct, frozen=True):
    """A URL of a provider that the people who run the service can set, as `SEQSTEP_{PROVIDER}_{NAME}`.

    Attributes:
        default: The provider's own.
        description: What it is, for the settings' page.
        title: What `seqstep doctor` calls it.
    """

    default: str
    description: str
    title: str


UrlSettings: TypeAlias = Mapping[str, UrlSetting]


class KnownProvider(Protocol):
    """What every provider states, also one that supports no update.

    Attributes:
        provider: The provider.
        credential_kinds: The types of credentials that it takes; none if it supports nothing.
        urls: Its URLs, by the name of the constructor's parameter.
        unsupported: Why it cannot be updated, and what to do instead; empty if it can.
    """

    provider: ClassVar[Provider]
    credential_kinds: ClassVar[tuple[type[Credentials], ...]]
    urls: ClassVar[UrlSettings]
    unsupported: ClassVar[str]


class ProviderAdapter(KnownProvider, Protocol):
    """What one provider does, and how. Everything but `plan` and `read` is pure; these leave what a response says to functions.

    Attributes:
        base_url: What the paths of requests are below.
        token_url: Where it renews OAuth tokens.
        clears_texts: Whether a template that has a text can be made one without it, by a null.
    """

    base_url: str
    token_url: str
    clears_texts: ClassVar[bool]

    def violations(self, update: StepUpdate) -> Sequence[Violation]:
        """The parts of the update that can be refused without asking the provider."""

    def id_violations(self, step: StepRef) -> Sequence[Violation]:
        """The ids that cannot be this provider's; one that is empty is not looked at."""

    def headers(self, credentials: Credentials) -> Mapping[str, str]:
        """The headers of every request, with the credentials in them."""

    def failure(
        self, request: ProviderRequest, response: ProviderResponse, connection: Connection
    ) -> ResponseFailure | None:
        """What is wrong with a response, without the response's secrets; None if it is a good one."""

    def rate_scope(self, request: ProviderRequest) -> str:
        """What the provider counts the request under: requests of one customer with the same scope share their windows."""

    def rate_windows(self, response: ProviderResponse) -> Sequence[RateWindow]:
        """What a response says about rate limits."""

    async def plan(self, update: StepUpdate, reader: Reader) -> Plan:
        """Finds out what the update comes to.

        Raises:
            UpdateFailed: The step cannot be found or changed, or the provider refused a read.
        """

    async def read(self, query: StepQuery, reader: Reader) -> ShownSequence:
        """Reads a sequence with its steps, or with the one that is wanted.

        Raises:
            UpdateFailed: The sequence or the step is not there or not shown, or the provider refused a read.
        """

    def probe(self) -> ProviderRequest:
        """A cheap read that shows whether a connection works."""
