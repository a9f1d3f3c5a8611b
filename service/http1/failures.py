"""Why a request got no answer."""

from enum import StrEnum


class Silence(StrEnum):
    """Why no answer came."""

    NAME = "its name could not be resolved"
    REFUSED = "the connection was refused"
    TLS = "the TLS handshake failed"
    CONNECT_TIMEOUT = "no connection could be made in time"
    READ_TIMEOUT = "it stayed silent for too long"
    DEADLINE = "the deadline of the call was reached"
    CUT = "the connection broke"
    TOO_LONG = "its answer is too long"
    UNREADABLE = "its answer is not HTTP, or its compression is broken"


class NoAnswer(Exception):
    """A request that got no answer.

    Attributes:
        why: What happened.
        sent: Whether the server may have received the request.
    """

    def __init__(self, why: Silence, *, sent: bool) -> None:
        super().__init__(why.value)
        self.why = why
        self.sent = sent
