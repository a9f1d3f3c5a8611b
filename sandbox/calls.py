"""The log of what the sandbox received, and exact counters beside it."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from sandbox.messages import Call

MAX_CALLS = 10_000
MAX_BODY_BYTES = 256 * 1024 * 1024
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "cookie"})
_SECRET_FIELDS = frozenset(
    {"api_key", "access_token", "refresh_token", "client_secret", "code", "password"}
)
_REDACTED = "REDACTED"


@dataclass(slots=True)
class LoggedCall:
    """One received call.

    Attributes:
        seq: Its number in the order received, from 1.
        call: What was received.
        status: The status answered; None while unanswered, and when the answer was withheld or cut.
        fault: The id of the fault that shaped the answer.
    """

    seq: int
    call: Call
    status: int | None = None
    fault: str | None = None

    def describe(self) -> dict[str, Any]:
        """Show the call with its credentials removed."""
        call = self.call
        return {
            "seq": self.seq,
            "provider": call.provider,
            "account": call.account.id if call.account else None,
            "method": call.method,
            "path": call.path,
            "query": [[n, _REDACTED if n in _SECRET_FIELDS else v] for n, v in call.query],
            "headers": {
                name.lower(): _redact_header(value) if name.lower() in _SECRET_HEADERS else value
                for name, value in call.headers.items()
            },
            "content_type": call.headers.get("Content-Type"),
            "body": _readable(call),
            "status": self.status,
            "fault": self.fault,
            "connection": call.connection,
        }


class CallLog:
    """The latest calls, at most 10,000 and 256 MiB of bodies, and counters that forget nothing."""

    def __init__(self) -> None:
        self._calls: deque[LoggedCall] = deque()
        self._bytes = 0
        self._seq = 0
        self._counters: Counter[tuple[str, str | None, str, str, int | None]] = Counter()

    def received(self, call: Call) -> LoggedCall:
        """Log a call as soon as it is received."""
        self._seq += 1
        entry = LoggedCall(self._seq, call)
        self._calls.append(entry)
        self._bytes += len(call.body)
        while len(self._calls) > MAX_CALLS or (
            self._bytes > MAX_BODY_BYTES and len(self._calls) > 1
        ):
            self._bytes -= len(self._calls.popleft().call.body)
        return entry

    def answered(self, entry: LoggedCall, status: int | None) -> None:
        """Note how a call ended; None when its client got no complete answer."""
        entry.status = status
        call = entry.call
        account = call.account.id if call.account else None
        self._counters[(call.provider, account, call.method, call.route, status)] += 1

    def clear(self) -> None:
        """Forget calls and counters, and number the next call 1."""
        self._calls.clear()
        self._counters.clear()
        self._bytes = self._seq = 0

    def describe(
        self, provider: str | None = None, account: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the calls in the order received, of one provider or account if given."""
        return [
            entry.describe()
            for entry in self._calls
            if provider in (None, entry.call.provider)
            and (account is None or (entry.call.account and entry.call.account.id == account))
        ]

    def describe_counters(self) -> list[dict[str, Any]]:
        """Show how many calls were answered for each provider, account, method, route, status."""
        names = ("provider", "account", "method", "route", "status")
        return [
            dict(zip(names, key, strict=True)) | {"count": count}
            for key, count in self._counters.items()
        ]


def _redact_header(value: str) -> str:
    scheme, space, _ = value.partition(" ")
    return f"{scheme} {_REDACTED}" if space else _REDACTED


def _readable(call: Call) -> Any:
    if not call.body:
        return None
    text = call.body.decode("utf-8", "replace")
    if "x-www-form-urlencoded" in call.headers.get("Content-Type", ""):
        return _redact(dict(parse_qsl(text, keep_blank_values=True)))
    try:
        return _redact(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _redact(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {n: _REDACTED if n in _SECRET_FIELDS else v for n, v in value.items()}
