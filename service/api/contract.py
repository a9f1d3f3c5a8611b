"""What the servers know of the contract: what callers know too, and more metadata keys, deadlines, and the numbers of its enums."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from engagement.v1 import envelope_pb2

from seqstep_client.contract import (
    API_KEY,
    CUSTOMER_ID,
    DEFAULT_DEADLINE_SECONDS,
    METADATA_RULE,
    METADATA_VALUE,
    PROVIDER_NAME,
    REQUEST_ID,
)
from service.domain.errors import Origin, Outcome

__all__ = [
    "API_KEY",
    "CUSTOMER_ID",
    "DEFAULT_DEADLINE_SECONDS",
    "ERROR_CODE",
    "ERROR_MODE",
    "ERROR_STATUS",
    "MAX_DEADLINE_SECONDS",
    "METADATA_RULE",
    "METADATA_VALUE",
    "ORIGINS",
    "OUTCOMES",
    "PROVIDER_NAME",
    "REQUEST_ID",
]

ERROR_MODE: Final = "x-error-mode"
ERROR_CODE: Final = "x-error-code"
ERROR_STATUS: Final = "x-error-status"

MAX_DEADLINE_SECONDS: Final = 60.0
"""The longest deadline."""

ORIGINS: "Final[Mapping[Origin, envelope_pb2.ErrorOrigin.ValueType]]" = MappingProxyType(
    {
        Origin.PROVIDER: envelope_pb2.ERROR_ORIGIN_REMOTE_PROVIDER,
        Origin.SERVICE: envelope_pb2.ERROR_ORIGIN_SERVICE,
    }
)
"""Each origin of an error in the contract's enum."""

OUTCOMES: "Final[Mapping[Outcome, envelope_pb2.ErrorOutcome.ValueType]]" = MappingProxyType(
    {
        Outcome.NOT_APPLIED: envelope_pb2.ERROR_OUTCOME_NOT_APPLIED,
        Outcome.UNKNOWN: envelope_pb2.ERROR_OUTCOME_UNKNOWN,
        Outcome.PARTIALLY_APPLIED: envelope_pb2.ERROR_OUTCOME_PARTIALLY_APPLIED,
    }
)
"""Each outcome of a failed call in the contract's enum."""
