"""`calls`: how many requests each kind of update costs at the provider, where they are the customer's quota."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import grpc
import httpx
from engagement.v1 import sequence_step_service_pb2 as messages
from engagement.v1 import sequence_step_service_pb2_grpc as stubs

from bench.processes import Cores
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import Sandbox, sandbox
from bench.variants import Customer, service_of
from sandbox import seed
from service.domain.credentials import ApiKeyCredentials, OAuthCredentials, Secret
from service.domain.step import Provider

_UPDATES: Final = 8
_BURST: Final = 32
_BURST_ANSWER_SECONDS: Final = 0.05
_FAR_FUTURE: Final = 4e9

_CUSTOMERS: Final = (
    Customer("acme", Provider("apollo"), ApiKeyCredentials(Secret(seed.APOLLO_UNLIMITED_KEY))),
    Customer(
        "acme",
        Provider("outreach"),
        OAuthCredentials(Secret(seed.OUTREACH_ACCESS_TOKEN), Secret("none"), _FAR_FUTURE, "none", Secret("none")),
    ),
)
_IDS: Final = {
    "apollo": (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN),
    "outreach": (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN)),
    "salesloft": ("1", "2"),
}
_PROVIDERS: Final = ("apollo", "outreach")
_NOTES: Final = {"apollo": "note", "outreach": "taskNote"}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of update.

    Attributes:
        title: What the table calls it.
        wanted: Provider requests that each update may cost; None if there is no goal.
        shape: Changes a request that would set a new subject, given its number, into one of this kind.
        provider: The only provider that it is measured at, if there is one.
        customer: Who calls.
    """

    title: str
    wanted: float | None
    shape: Callable[[messages.UpdateStepRequest, str, int], Any]
    provider: str = ""
    customer: str = "acme"


def _custom_field(request: messages.UpdateStepRequest, provider: str, number: int) -> None:
    request.record.custom_fields.update({_NOTES[provider]: f"note {number}"})


def _same_subject(request: messages.UpdateStepRequest, _provider: str, _number: int) -> None:
    request.record.template.subject = "always the same"


def _validate_only(request: messages.UpdateStepRequest, _provider: str, _number: int) -> None:
    request.validate_only = True


def _nothing(request: messages.UpdateStepRequest, _provider: str, _number: int) -> None:
    request.record.Clear()
    request.record.SetInParent()


def _bad_id(request: messages.UpdateStepRequest, _provider: str, _number: int) -> None:
    request.sequence_id = "../users"


def _as_it_is(_request: messages.UpdateStepRequest, _provider: str, _number: int) -> None:
    pass


_CHANGE: Final = _Kind("template changed", 2, _as_it_is)
_NO_CHANGE: Final = _Kind("nothing to change, the provider holds it already", 1, _same_subject)
_KINDS: Final = (
    _CHANGE,
    _Kind("template and custom field changed", 3, _custom_field),
    _NO_CHANGE,
    _Kind("validate_only (at Outreach it asks who shares the template)", None, _validate_only),
    _Kind("nothing named", 0, _nothing),
    _Kind("refused: an id that is none", 0, _bad_id),
    _Kind("refused: a customer without a connection", 0, _as_it_is, customer="nobody"),
    _Kind("refused: Salesloft", 0, _as_it_is, "salesloft"),
)


class _Callers:
    def __init__(self, stub: stubs.SequenceStepServiceStub, key: str, stand_in: Sandbox) -> None:
        self._stub = stub
        self._key = key
        self._stand_in = stand_in
        self._numbers = itertools.count(1)

    def _update(self, kind: _Kind, provider: str) -> None:
        number = next(self._numbers)
        sequence, step = _IDS[provider]
        request = messages.UpdateStepRequest(sequence_id=sequence, sequence_step_id=step)
        request.record.template.subject = f"subject {number}"
        kind.shape(request, provider, number)
        metadata = (("x-api-key", self._key), ("x-customer-id", kind.customer), ("x-provider-name", provider))
        try:
            self._stub.UpdateStep(request, metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise

    def _count(self) -> int:
        """Requests that the sandbox has had so far."""
        counters = httpx.get(f"{self._stand_in.control_url}/counters").raise_for_status().json()
        return sum(each["count"] for each in counters)

    def slow_down(self, seconds: float) -> None:
        """Lets every answer of the sandbox take so long, as a provider's does."""
        for provider in _PROVIDERS:
            order = {"provider": provider, "delay_seconds": seconds, "times": None}
            httpx.post(f"{self._stand_in.control_url}/faults", json=order).raise_for_status()

    def cost(self, kind: _Kind, provider: str, updates: int, at_a_time: int) -> float:
        """Requests for each of so many updates, so many of which are made at a time."""
        before = self._count()
        with ThreadPoolExecutor(at_a_time) as threads:
            list(threads.map(lambda _: self._update(kind, provider), range(updates)))
        return (self._count() - before) / updates


def run(stage: Stage) -> Section:
    """Provider requests for a change, for no change, for what is refused here, and for a burst on one step."""
    cores = Cores.apart()
    rows: list[Row] = []
    off: list[str] = []
    with (
        service_of(_CUSTOMERS) as ours,
        sandbox(cores.load) as stand_in,
        ours.running(stand_in.server, cores, environment=stand_in.environment) as load,
        grpc.insecure_channel(f"127.0.0.1:{load.port}") as channel,
        stage.doing("Counting …"),
    ):
        callers = _Callers(stubs.SequenceStepServiceStub(channel), ours.api_key, stand_in)
        for kind in _KINDS:
            for provider in [kind.provider] if kind.provider else _PROVIDERS:
                callers.cost(kind, provider, 1, 1)
                found = callers.cost(kind, provider, _UPDATES, 1)
                rows.append((kind.title, provider, str(_UPDATES), f"{found:.3g}"))
                if kind.wanted not in (None, found):
                    off.append(f"{kind.title}, {provider}")
        callers.slow_down(_BURST_ANSWER_SECONDS)
        for kind in (_CHANGE, _NO_CHANGE):
            for provider in _PROVIDERS:
                found = callers.cost(kind, provider, _BURST, _BURST)
                rows.append((f"burst on one step: {kind.title}", provider, str(_BURST), f"{found:.3g}"))
    return Section(
        [Table("Provider requests", ("update", "provider", "updates", "requests for each"), rows)],
        [
            Goal(
                "Provider requests: 2 for a change, 1 for no change, 0 for what is refused here",
                f"more or fewer for: {'; '.join(off)}" if off else "exactly so",
                not off,
            )
        ],
        [
            f"Counted by the sandbox. In a burst, {_BURST} updates of one step arrive at once, and each answer takes 50 ms."
        ],
        {"rows": rows},
    )
