"""What callers and the service have to agree on beside the messages: metadata keys, the default deadline, and words for enums."""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from engagement.v1 import envelope_pb2

CUSTOMER_ID: Final = "x-customer-id"
PROVIDER_NAME: Final = "x-provider-name"
API_KEY: Final = "x-api-key"
REQUEST_ID: Final = "x-request-id"

METADATA_VALUE: Final = re.compile(r"[\x20-\x7e]{1,255}")
"""What the value of one of these keys has to be."""

METADATA_RULE: Final = "Must be 1 to 255 printable ASCII characters."
"""The same in words."""

DEFAULT_DEADLINE_SECONDS: Final = 30.0
"""How long a call may take whose caller sets no deadline."""


class Origin(StrEnum):
    """Who found fault with a call."""

    PROVIDER = "provider"
    SERVICE = "service"


class Outcome(StrEnum):
    """What became of the step at the provider; for a failed call by the names of the contract's `ErrorOutcome`."""

    APPLIED = "APPLIED"
    NOT_APPLIED = "ERROR_OUTCOME_NOT_APPLIED"
    UNKNOWN = "ERROR_OUTCOME_UNKNOWN"
    PARTIALLY_APPLIED = "ERROR_OUTCOME_PARTIALLY_APPLIED"


ORIGINS: Final[Mapping[int, Origin]] = MappingProxyType(
    {
        envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER: Origin.PROVIDER,
        envelope_pb2.ERROR_ORIGIN_SERVICE: Origin.SERVICE,
    }
)
"""Each origin by its number in the contract."""

OUTCOMES: Final[Mapping[int, Outcome]] = MappingProxyType(
    {
        envelope_pb2.ERROR_OUTCOME_NOT_APPLIED: Outcome.NOT_APPLIED,
        envelope_pb2.ERROR_OUTCOME_UNKNOWN: Outcome.UNKNOWN,
        envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED: Outcome.PARTIALLY_APPLIED,
    }
)
"""Each outcome of an error by its number in the contract."""
