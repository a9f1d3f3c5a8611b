"""Callers who compare the outcome of each call with what the provider has.

Each customer has an account of its own at the sandbox and makes one call at a time, so that what the provider had before and
has after a call is known exactly.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import httpx
from engagement.v1 import envelope_pb2
from engagement.v1 import sequence_step_service_pb2 as messages
from google.rpc import status_pb2

from bench.variants import Customer
from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider

_CUSTOMERS: Final = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a provider keeps what is changed."""

    sequence: str
    step: str
    template_path: str
    step_path: str
    note: str

    def read(self, template: dict[str, Any], step: dict[str, Any]) -> tuple[Any, Any]:
        return (
            template.get("attributes", template)["subject"],
            step.get("attributes", step)[self.note],
        )


PLACES: Final = {
    Provider("apollo"): Place(
        seed.APOLLO_SEQUENCE_INACTIVE,
        seed.APOLLO_STEP_INACTIVE_PLAIN,
        f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}",
        f"apollo/emailer_steps/{seed.APOLLO_STEP_INACTIVE_PLAIN}",
        "note",
    ),
    Provider("outreach"): Place(
        str(seed.OUTREACH_SEQUENCE_DISABLED),
        str(seed.OUTREACH_STEP_DISABLED_PLAIN),
        f"outreach/templates/{seed.OUTREACH_TEMPLATE_DISABLED_PLAIN}",
        f"outreach/sequenceSteps/{seed.OUTREACH_STEP_DISABLED_PLAIN}",
        "taskNote",
    ),
}


@dataclass(slots=True)
class Findings:
    """How the calls ended, and where that was not so."""

    outcomes: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    untrue: list[str] = field(default_factory=list)
    latest: float = -1e9

    def note(self, found: str, late: float) -> None:
        self.outcomes[found] += 1
        self.latest = max(self.latest, late)


class ComparedCalls:
    """Customers and their calls."""

    def __init__(self, control_url: str, control: httpx.AsyncClient, deadline: float) -> None:
        self._url = control_url
        self._control = control
        self._deadline = deadline
        self._accounts: dict[str, str] = {}
        self.findings = Findings()

    async def make_customers(self) -> list[Customer]:
        customers = []
        for number in range(_CUSTOMERS):
            provider = (Provider("apollo"), Provider("outreach"))[number % 2]
            many: dict[str, Any] = {"minute": None, "hourly": None, "24-hour": None}
            order: dict[str, Any] = {"provider": provider, "rate_limits": many}
            if provider == Provider("outreach"):
                order |= {"rate_limits": {"hour": 10**8}, "token_lifetime_seconds": 60}
            made = (await self._control.post(f"{self._url}/accounts", json=order)).raise_for_status().json()
            credentials: Credentials
            if provider == Provider("apollo"):
                credentials = ApiKeyCredentials(Secret(made["api_key"]))
            else:
                await self._control.patch(f"{self._url}/accounts/{made['id']}", json={"mint_interval_seconds": 0})
                credentials = OAuthCredentials(
                    Secret(made["access_token"]),
                    Secret(made["refresh_token"]),
                    float(made["expires_at"]),
                    made["client_id"],
                    Secret(made["client_secret"]),
                    made["redirect_uri"],
                )
            customers.append(Customer(f"customer-{number}", provider, credentials))
            self._accounts[customers[-1].name] = made["id"]
        return customers

    async def stored(self, customer: Customer) -> tuple[Any, Any]:
        place = PLACES[customer.provider]
        given = {"account": self._accounts[customer.name]}
        template = await self._control.get(f"{self._url}/{place.template_path}", params=given)
        step = await self._control.get(f"{self._url}/{place.step_path}", params=given)
        return place.read(template.raise_for_status().json(), step.raise_for_status().json())

    async def keep_calling(self, customer: Customer, stub: Any, key: str, until: Callable[[], bool]) -> None:
        place = PLACES[customer.provider]
        metadata = (("x-api-key", key), ("x-customer-id", customer.name), ("x-provider-name", customer.provider))
        for number in itertools.count():
            if until():
                return
            request = messages.UpdateStepRequest(sequence_id=place.sequence, sequence_step_id=place.step)
            before = await self.stored(customer)
            wanted = (f"{customer.name} {number}", before[1])
            request.record.template.subject = wanted[0]
            if random.random() < 0.5:
                wanted = (wanted[0], f"note {number}")
                request.record.custom_fields.update({place.note: wanted[1]})
            found = await self._call(stub, request, metadata)
            self._check(customer, found, before, wanted, await self.stored(customer))
            while found in ("unknown", "partially applied") and not until():
                self.findings.repeated += 1
                found = await self._call(stub, request, metadata)
                if found == "applied":
                    self._check(customer, found, before, wanted, await self.stored(customer))

    async def _call(self, stub: Any, request: messages.UpdateStepRequest, metadata: Any) -> str:
        begun = time.monotonic()
        try:
            response = await stub.UpdateStep(request, metadata=metadata, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            response = envelope(error)
            found = f"{error.code().name}, {outcome(response)}"
        else:
            found = outcome(response) if response.errors else "applied"
        self.findings.note(found, time.monotonic() - begun - self._deadline)
        return found

    def _check(
        self, customer: Customer, found: str, before: tuple[Any, Any], wanted: tuple[Any, Any], now: tuple[Any, Any]
    ) -> None:
        # Of a status it is what its details say; one without details, such as a proxy's own, says nothing about the step.
        kind = found.rpartition(", ")[2]
        if kind == "applied":
            true = now == wanted
        elif kind in ("unknown", "nothing"):
            true = now[0] in (before[0], wanted[0]) and now[1] in (before[1], wanted[1])
        elif kind == "partially applied":
            true = now[0] == wanted[0] and now[1] in (before[1], wanted[1])
        else:
            true = now == before
        if not true:
            self.findings.untrue.append(f"{customer.name} was answered {found}: {before} -> {now}, wanted {wanted}")


def envelope(error: grpc.aio.AioRpcError) -> messages.UpdateStepResponse:
    response = messages.UpdateStepResponse()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(response)
    return response


def outcome(response: messages.UpdateStepResponse) -> str:
    if not response.errors:
        return "nothing"
    name = envelope_pb2.ErrorOutcome.Name(response.errors[0].meta.outcome)
    return name.removeprefix("ERROR_OUTCOME_").replace("_", " ").lower()
