"""What the stand-in for the providers answers: an Apollo-like sequence of about 12 KB, and Outreach-like resources."""

import json
from dataclasses import dataclass
from typing import Any, Final

SEQUENCE_ID: Final = "66f1a0c2b4d5e6f708192a3b"
STEP_ID: Final = "66f1a0c2b4d5e6f708192a01"
TEMPLATE_ID: Final = "66f1a0c2b4d5e6f708192b01"
OUTREACH_SEQUENCE_ID: Final = "4711"
OUTREACH_STEP_ID: Final = "815"
OUTREACH_TEMPLATE_ID: Final = 99

STORED_SUBJECT: Final = "Quick question about {{company}}"
STORED_BODY: Final = "<p>Hi {{first_name}},</p>" + "<p>We help teams like yours to save time on every mail.</p>" * 16
WANTED_SUBJECT: Final = "A better question about {{company}}"
WANTED_BODY: Final = "<p>Hello {{first_name}},</p>" + "<p>Teams like yours save an hour a day with us.</p>" * 25

# Providers tell about rate limits in every answer, and reading that is part of a call.
APOLLO_HEADERS: Final = {
    "x-minute-requests-left": "987",
    "x-hourly-requests-left": "5990",
    "x-24-hour-requests-left": "49000",
}
OUTREACH_HEADERS: Final = {"x-ratelimit-limit": "10000", "x-ratelimit-remaining": "9000"}

_STEPS: Final = 6


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the stand-in.

    Attributes:
        method: Its HTTP method.
        prefix: How its path begins.
        name: The name of the file with its answer.
        media_type: The answer's media type.
        headers: The answer's further headers.
        body: The answer's body.
    """

    method: str
    prefix: str
    name: str
    media_type: str
    headers: dict[str, str]
    body: bytes


def routes() -> list[Route]:
    """All operations."""
    kind = "application/vnd.api+json"
    return [
        Route("GET", "/api/v1/emailer_campaigns/", "campaign", "application/json", APOLLO_HEADERS, _dump(_campaign())),
        Route("PUT", "/api/v1/emailer_templates/", "template", "application/json", APOLLO_HEADERS, _dump(_written())),
        Route("GET", "/api/v2/sequenceTemplates", "variants", kind, OUTREACH_HEADERS, _dump(_variants())),
        Route("PATCH", "/api/v2/templates/", "outreach_template", kind, OUTREACH_HEADERS, _dump(_outreach_written())),
    ]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _id(kind: int, number: int) -> str:
    return f"66f1a0c2b4d5e6f70819{kind:02x}{number:02x}"


def _template(number: int, subject: str, body: str) -> dict[str, Any]:
    return {
        "id": _id(0x2B, number),
        "name": None,
        "user_id": _id(0x11, 1),
        "subject": subject,
        "archived": False,
        "created_at": "2026-03-02T09:12:45.123Z",
        "global": False,
        "body_text": "Hi {{first_name}}, we help teams like yours to save time.",
        "body_html": body,
        "folder_id": None,
        "creation_type": "sequence",
        "label_ids": [],
        "prompt_id": None,
    }


def _campaign() -> dict[str, Any]:
    numbers = range(1, _STEPS + 1)
    return {
        # No id of the sequence, here and in its steps: one answer serves for thousands of sequences.
        "emailer_campaign": {
            "name": "Outbound Q3",
            "active": True,
            "archived": False,
            "created_at": "2026-03-02T09:12:44.000Z",
            "num_steps": _STEPS,
            "user_id": _id(0x11, 1),
            "permissions": "team_can_use",
            "same_account_reply_policy_cd": None,
            "excluded_account_stage_ids": [],
            "unique_delivered": 1204,
            "unique_opened": 611,
            "unique_replied": 48,
            "open_rate": 0.5075,
        },
        "emailer_steps": [
            {
                "id": _id(0x2A, number),
                "position": number,
                "wait_time": 3,
                "wait_mode": "day",
                "type": "auto_email",
                "note": None,
                "max_emails_per_day": None,
                "priority": None,
                "exact_datetime": None,
                "counts": {"active": 120, "paused": 4, "finished": 980, "bounced": 12, "not_sent": 7},
            }
            for number in numbers
        ],
        "emailer_touches": [
            {
                "id": _id(0x2C, number),
                "emailer_step_id": _id(0x2A, number),
                "emailer_template_id": _id(0x2B, number),
                "type": "new_thread",
                "status": "approved",
                "include_signature": True,
                "has_personalized_opener": False,
                "unique_delivered": 200,
                "unique_opened": 101,
                "unique_clicked": 9,
            }
            for number in numbers
        ],
        "emailer_templates": [_template(number, STORED_SUBJECT, STORED_BODY) for number in numbers],
    }


def _written() -> dict[str, Any]:
    return {"emailer_template": _template(1, WANTED_SUBJECT, WANTED_BODY)}


def _outreach_template(subject: str, body: str) -> dict[str, Any]:
    return {
        "type": "template",
        "id": OUTREACH_TEMPLATE_ID,
        "attributes": {"subject": subject, "bodyHtml": body, "archived": False},
    }


def _variants() -> dict[str, Any]:
    def one(kind: str, number: int) -> dict[str, Any]:
        return {"data": {"type": kind, "id": number}}

    return {
        "data": [
            {
                "type": "sequenceTemplate",
                "id": 1,
                "attributes": {"enabled": True, "isReply": False},
                "relationships": {
                    "sequenceStep": one("sequenceStep", int(OUTREACH_STEP_ID)),
                    "template": one("template", OUTREACH_TEMPLATE_ID),
                },
            }
        ],
        "included": [
            _outreach_template(STORED_SUBJECT, STORED_BODY),
            {
                "type": "sequenceStep",
                "id": int(OUTREACH_STEP_ID),
                "attributes": {"stepType": "auto_email"},
                "relationships": {"sequence": one("sequence", int(OUTREACH_SEQUENCE_ID))},
            },
            {"type": "sequence", "id": int(OUTREACH_SEQUENCE_ID), "attributes": {"enabled": True}},
        ],
    }


def _outreach_written() -> dict[str, Any]:
    return {"data": _outreach_template(WANTED_SUBJECT, WANTED_BODY)}
