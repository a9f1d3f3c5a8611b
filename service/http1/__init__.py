"""HTTP/1.1 as a client: kept connections, one request at a time on each, and the truth about what became of a request."""

from service.http1.failures import NoAnswer, Silence
from service.http1.pool import Limits, Pool

__all__ = ["Limits", "NoAnswer", "Pool", "Silence"]
