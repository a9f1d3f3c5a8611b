"""What the servers and the client library share of the contract: metadata keys, deadlines, and the numbers of its enums."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from engagement.v1 import envelope_pb2

from service.domain.errors import Origin, Outcome

CUSTOMER_ID: Final = "x-customer-id"
PROVIDER_NAME: Final = "x-provider-name"
API_KEY: Final = "x-api-key"
REQUEST_ID: Final = "x-request-id"
ERROR_MODE: Final = "x-error-mode"
ERROR_CODE: Final = "x-error-code"
ERROR_STATUS: Final = "x-error-status"

METADATA_VALUE: Final = re.compile(r"[\x20-\x7e]{1,255}")
"""What the value of one of these keys has to be."""

METADATA_RULE: Final = "Must be 1 to 255 printable ASCII characters."
"""The same in words."""

DEFAULT_DEADLINE_SECONDS: Final = 30.0
"""How long a call may take whose caller sets no deadline."""

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
