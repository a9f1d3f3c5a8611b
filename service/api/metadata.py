"""Reads and checks the metadata of a call."""

import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from service.api.contract import (
    API_KEY,
    CUSTOMER_ID,
    ERROR_MODE,
    METADATA_RULE,
    METADATA_VALUE,
    PROVIDER_NAME,
    REQUEST_ID,
)
from service.domain.credentials import Secret
from service.domain.errors import ErrorCode, Violation, invalid
from service.domain.step import Provider
from service.providers import providers

PREVIOUS_ATTEMPTS: Final = "grpc-previous-rpc-attempts"
"""How many attempts of the call gRPC's retry policy has made before."""

ENVOY_ATTEMPT: Final = "x-envoy-attempt-count"
"""Which attempt of the call this is, by Envoy's count from 1."""

_KEYS: Final = frozenset({CUSTOMER_ID, PROVIDER_NAME, API_KEY, REQUEST_ID, ERROR_MODE})

MetadataPairs: TypeAlias = Sequence[tuple[str, str | bytes]]
"""Keys and values as they came."""


class ErrorMode(StrEnum):
    """How a caller wants failures of an update: in the envelope of an OK response, or as a non-OK status."""

    ENVELOPE = "envelope"
    STATUS = "status"


_PROVIDERS: Final = providers()
_MODES: Final = {mode.value: mode for mode in ErrorMode}


class CallMetadata(msgspec.Struct, frozen=True):
    """The metadata of a valid call.

    Attributes:
        customer_id: The caller's own id of its customer.
        provider: Where the step lives.
        error_mode: How the caller wants failures.
    """

    customer_id: str
    provider: Provider
    error_mode: ErrorMode


def gather(pairs: MetadataPairs) -> tuple[dict[str, str], list[Violation]]:
    """The values of the keys that the service knows, and what is wrong with those that are unusable or contradictory."""
    values: dict[str, str] = {}
    violations: dict[str, Violation] = {}
    for key, value in pairs:
        if key not in _KEYS:
            continue
        # Values of these keys are text on the wire; only keys that end in -bin have bytes.
        text = value if isinstance(value, str) else value.decode("latin-1")
        if not METADATA_VALUE.fullmatch(text):
            violations[key] = Violation(key, METADATA_RULE)
        elif values.setdefault(key, text) != text:
            violations[key] = Violation(key, "Is given more than once, with different values. Give it once.")
    for key in violations:
        values.pop(key, None)
    return values, list(violations.values())


def request_id(values: dict[str, str]) -> str:
    """The id of the call: the caller's own, or a new one."""
    return values.get(REQUEST_ID) or str(uuid.uuid4())


def api_key(values: dict[str, str]) -> Secret | None:
    """The key that the caller presents."""
    value = values.get(API_KEY)
    return Secret(value) if value is not None else None


def is_retry(pairs: MetadataPairs) -> bool:
    """Whether the call repeats an earlier attempt, by the word of gRPC's retry policy or of Envoy's."""
    for key, value in pairs:
        if (key == PREVIOUS_ATTEMPTS and value not in ("0", b"0")) or (
            key == ENVOY_ATTEMPT and value not in ("1", b"1")
        ):
            return True
    return False


def named_provider(values: dict[str, str]) -> Provider | None:
    """The provider that the caller names, if it is a known one."""
    return _PROVIDERS.get(values.get(PROVIDER_NAME, "").strip().lower())


def parse(values: dict[str, str], violations: Sequence[Violation]) -> CallMetadata:
    """The metadata of a call, checked.

    Args:
        values: As gathered.
        violations: As gathered.

    Raises:
        CallRefused: A key is missing or has a value that is not allowed. All of them are named.
    """
    found = list(violations)
    wrong = {violation.field for violation in found}
    customer_id = values.get(CUSTOMER_ID, "").strip()
    if not customer_id and CUSTOMER_ID not in wrong:
        found.append(Violation(CUSTOMER_ID, "Required: your own id of the customer whose step is to change."))
    provider = named_provider(values)
    if provider is None and PROVIDER_NAME not in wrong:
        named = values.get(PROVIDER_NAME, "").strip()
        rule = f"one of {', '.join(_PROVIDERS)}."
        found.append(
            Violation(PROVIDER_NAME, f"{named[:100]} is not known here; give {rule}" if named else f"Required: {rule}")
        )
    given = values.get(ERROR_MODE)
    mode = ErrorMode.ENVELOPE if given is None else _MODES.get(given.strip().lower())
    if mode is None and ERROR_MODE not in wrong:
        found.append(Violation(ERROR_MODE, f"Must be one of {', '.join(ErrorMode)}."))
    if found or provider is None or mode is None:
        raise invalid(found, ErrorCode.BAD_REQUEST)
    return CallMetadata(customer_id, provider, mode)
