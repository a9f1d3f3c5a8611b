"""What each HTTP status of a provider's response says about a write, and whether repeating the request may help."""

from typing import Final

import msgspec


class StatusRule(msgspec.Struct, frozen=True):
    """What a range of statuses means.

    Attributes:
        first: The first status of the range.
        last: The last one.
        may_be_applied: Whether a write with this answer may have been carried out, even if the provider itself answered.
        may_pass: Whether the same request may succeed in a moment.
        reason: Who can have sent it, and why it is read so.
    """

    first: int
    last: int
    may_be_applied: bool
    may_pass: bool
    reason: str


STATUS_RULES: Final = (
    StatusRule(
        300,
        399,
        may_be_applied=True,
        may_pass=False,
        reason="Redirects are never followed. They come from whoever is in front as often as from the provider, and some "
        "(303) follow a write that was carried out.",
    ),
    StatusRule(
        408,
        408,
        may_be_applied=True,
        may_pass=True,
        reason="A proxy says it too, after it has passed the request on.",
    ),
    StatusRule(
        499,
        499,
        may_be_applied=True,
        may_pass=True,
        reason="A proxy's word for a connection that ended; the provider may have the request.",
    ),
    StatusRule(
        400,
        498,
        may_be_applied=False,
        may_pass=False,
        reason="The provider refused the request, if it answered in its own form.",
    ),
    StatusRule(
        500,
        500,
        may_be_applied=True,
        may_pass=False,
        reason="Apollo has answered 500 after carrying the write out (observed).",
    ),
    StatusRule(
        501,
        501,
        may_be_applied=False,
        may_pass=False,
        reason="The provider never handles such requests, if it answered in its own form.",
    ),
    StatusRule(
        502,
        504,
        may_be_applied=True,
        may_pass=True,
        reason="A proxy lost the provider, perhaps in the middle of the request. A provider's own word of maintenance (503) "
        "is a refusal.",
    ),
    StatusRule(
        520,
        530,
        may_be_applied=True,
        may_pass=True,
        reason="Cloudflare could not get an answer from the provider, which may have had the request.",
    ),
    StatusRule(
        505,
        599,
        may_be_applied=True,
        may_pass=False,
        reason="A failure of the provider or of a proxy without a meaning of its own.",
    ),
)
"""The rules, the first one that fits counts. An answer that is not in the provider's own form refuses nothing."""

_OTHER: Final = StatusRule(
    100, 999, may_be_applied=True, may_pass=False, reason="No meaning that a response could have here."
)


def rule_of(status: int) -> StatusRule:
    """The rule of a status."""
    return next((rule for rule in STATUS_RULES if rule.first <= status <= rule.last), _OTHER)
