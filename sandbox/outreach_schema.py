"""The resources of Outreach that the sandbox holds, as its OpenAPI document of 2026 has them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Attribute:
    """What an attribute may hold.

    Attributes:
        kind: ``string``, ``integer``, ``number``, ``boolean``, ``array`` (of strings), ``date`` or
            ``date-time``; null is allowed everywhere.
        read_only: Whether sending it is an error.
        max_length: The most characters, None without a limit.
        choices: The values allowed, empty when any is.
        required: Whether null and blank values are refused.
    """

    kind: str
    read_only: bool = False
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True)
class Relationship:
    """A relationship of a resource.

    Attributes:
        kind: ``one``, ``many``, or ``links`` when it never carries data.
        target: The type at its far end, empty for ``links``.
        read_only: Whether sending it is an error.
        filterable: Whether ``filter[NAME][id]`` works.
    """

    kind: str
    target: str
    read_only: bool = True
    filterable: bool = True


@dataclass(frozen=True, slots=True)
class Schema:
    """One resource type.

    Attributes:
        collection: The path segment and scope name, such as ``templates``.
        attributes: Its attributes by name.
        relationships: Its relationships by name.
    """

    collection: str
    attributes: dict[str, Attribute]
    relationships: dict[str, Relationship]

    def blank(self) -> dict[str, Any]:
        """Return every attribute, with zero for the counts and null for the rest."""
        return {
            name: 0 if attribute.read_only and attribute.kind == "integer" else None
            for name, attribute in self.attributes.items()
        }


def _read_only(kind: str, names: str) -> dict[str, Attribute]:
    return dict.fromkeys(names.split(), Attribute(kind, read_only=True))


_STATISTICS = _read_only(
    "integer",
    "bounceCount clickCount deliverCount failureCount negativeReplyCount neutralReplyCount "
    "openCount optOutCount positiveReplyCount replyCount scheduleCount",
)
_SHARE_TYPES = ("private", "read_only", "shared")
# The document also limits these two to 4 characters, which none of their own values would fit.
_REPLY_ACTIONS = ("finish", "continue", "pause")
_USER = Relationship("one", "user")
_OWNER = Relationship("one", "user", read_only=False)
_LINKS = Relationship("links", "")
_UNFILTERED_LINKS = Relationship("links", "", filterable=False)

SCHEMAS: dict[str, Schema] = {
    "sequence": Schema(
        "sequences",
        {
            **_STATISTICS,
            **_read_only("number", "automationPercentage"),
            **_read_only(
                "integer",
                "durationInDays numContactedProspects numRepliedProspects sequenceStepCount",
            ),
            **_read_only(
                "date-time", "createdAt enabledAt lastUsedAt lockedAt throttlePausedAt updatedAt"
            ),
            **_read_only("boolean", "enabled locked"),
            "description": Attribute("string", max_length=1_024),
            "finishOnReply": Attribute("boolean"),
            "maxActivations": Attribute("integer"),
            "name": Attribute("string", max_length=255, required=True),
            "primaryReplyAction": Attribute("string", choices=_REPLY_ACTIONS),
            "primaryReplyPauseDuration": Attribute("integer"),
            "salesMotion": Attribute("string", max_length=255),
            "scheduleIntervalType": Attribute("string", choices=("calendar", "schedule")),
            "secondaryReplyAction": Attribute("string", choices=_REPLY_ACTIONS),
            "secondaryReplyPauseDuration": Attribute("integer"),
            "sequenceType": Attribute("string", choices=("date", "interval")),
            "shareType": Attribute("string", choices=_SHARE_TYPES),
            "tags": Attribute("array"),
            "throttleCapacity": Attribute("integer"),
            "throttleMaxAddsPerDay": Attribute("integer"),
            "throttlePaused": Attribute("boolean"),
            "transactional": Attribute("boolean"),
        },
        {
            "calls": _LINKS,
            "contentCategoryMemberships": Relationship("many", "contentCategoryMembership"),
            "creator": _USER,
            "mailings": _UNFILTERED_LINKS,
            "owner": _OWNER,
            "ruleset": Relationship("one", "ruleset", read_only=False),
            "schedule": Relationship("one", "schedule", read_only=False, filterable=False),
            "sequenceStates": _LINKS,
            "sequenceSteps": Relationship("many", "sequenceStep", read_only=False),
            "tasks": _LINKS,
            "updater": _USER,
        },
    ),
    "sequenceStep": Schema(
        "sequenceSteps",
        {
            **_STATISTICS,
            **_read_only("date-time", "createdAt updatedAt"),
            **_read_only("string", "displayName"),
            "date": Attribute("date"),
            "interval": Attribute("integer"),
            "order": Attribute("integer"),
            "stepType": Attribute(
                "string",
                choices=("auto_email", "manual_email", "call", "task", "linkedin_send_message"),
                required=True,
            ),
            "taskAutoskipDelay": Attribute("integer"),
            "taskNote": Attribute("string", max_length=65_535),
        },
        {
            "callPurpose": Relationship("one", "callPurpose", read_only=False),
            "calls": _LINKS,
            "creator": _USER,
            "mailings": _UNFILTERED_LINKS,
            "schedule": Relationship("one", "schedule", read_only=False, filterable=False),
            "sequence": Relationship("one", "sequence", read_only=False),
            "sequenceTemplates": Relationship("many", "sequenceTemplate"),
            "taskPriority": Relationship("one", "taskPriority", read_only=False),
            "tasks": _LINKS,
            "updater": _USER,
        },
    ),
    "sequenceTemplate": Schema(
        "sequenceTemplates",
        {
            **_STATISTICS,
            **_read_only("date-time", "createdAt enabledAt updatedAt"),
            **_read_only("boolean", "enabled"),
            "isReply": Attribute("boolean"),
        },
        {
            "creator": _USER,
            "sequenceStep": Relationship("one", "sequenceStep", read_only=False),
            "template": Relationship("one", "template", read_only=False),
            "updater": _USER,
        },
    ),
    "template": Schema(
        "templates",
        {
            **_STATISTICS,
            **_read_only("date-time", "archivedAt createdAt lastUsedAt updatedAt"),
            **_read_only("string", "bodyText"),
            "archived": Attribute("boolean"),
            "bccRecipients": Attribute("array"),
            "bodyHtml": Attribute("string", max_length=16_777_215),
            "ccRecipients": Attribute("array"),
            "name": Attribute("string", max_length=225, required=True),
            "shareType": Attribute("string", choices=_SHARE_TYPES),
            "subject": Attribute("string"),
            "tags": Attribute("array"),
            "toRecipients": Attribute("array"),
            "trackLinks": Attribute("boolean"),
            "trackOpens": Attribute("boolean"),
        },
        {
            "attachments": Relationship("many", "attachment", read_only=False, filterable=False),
            "contentCategoryMemberships": Relationship(
                "many", "contentCategoryMembership", read_only=False, filterable=False
            ),
            "creator": _USER,
            "favorites": Relationship("many", "favorite", read_only=False, filterable=False),
            "owner": _OWNER,
            "recipients": Relationship("many", "recipient"),
            "sequenceTemplates": Relationship("many", "sequenceTemplate", filterable=False),
            "statsTarget": Relationship("one", "template", read_only=False, filterable=False),
            "updater": _USER,
        },
    ),
    "user": Schema(
        "users",
        _read_only("string", "email firstName lastName name"),
        {},
    ),
}
"""Every type that the sandbox holds. Users are read-only and reachable by ``include`` alone."""

COLLECTIONS = {s.collection: kind for kind, s in SCHEMAS.items() if kind != "user"}
"""The type served below each path segment."""
