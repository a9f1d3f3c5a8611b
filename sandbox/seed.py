"""The data and credentials that every sandbox starts with; ids never change.

The README of this package has a table of what each id stands for.
"""

# ruff: noqa: S105 - the credentials of a sandbox are public

from typing import Any

from sandbox.markup import to_text
from sandbox.outreach_schema import SCHEMAS
from sandbox.records import ApolloData, Json, OutreachData, Resource

APOLLO_ACCOUNT = "apollo-main"
APOLLO_SECOND_ACCOUNT = "apollo-second"
APOLLO_UNLIMITED_ACCOUNT = "apollo-unlimited"
APOLLO_FREE_ACCOUNT = "apollo-free"
APOLLO_MASTER_KEY = "sandbox-apollo-master-key"
APOLLO_SECOND_KEY = "sandbox-apollo-second-key"
APOLLO_UNLIMITED_KEY = "sandbox-apollo-unlimited-key"
APOLLO_SCOPED_KEY = "sandbox-apollo-scoped-key"
APOLLO_FREE_KEY = "sandbox-apollo-free-key"
APOLLO_ACCESS_TOKEN = "sandbox-apollo-access-token"
APOLLO_REFRESH_TOKEN = "sandbox-apollo-refresh-token"
APOLLO_EXPIRED_TOKEN = "sandbox-apollo-expired-token"
APOLLO_CLIENT_ID = "sandbox-apollo-client"
APOLLO_CLIENT_SECRET = "sandbox-apollo-client-secret"

OUTREACH_ACCOUNT = "outreach-main"
OUTREACH_SECOND_ACCOUNT = "outreach-second"
OUTREACH_ACCESS_TOKEN = "sandbox-outreach-access-token"
OUTREACH_REFRESH_TOKEN = "sandbox-outreach-refresh-token"
OUTREACH_READONLY_TOKEN = "sandbox-outreach-readonly-token"
OUTREACH_EXPIRED_TOKEN = "sandbox-outreach-expired-token"
OUTREACH_SECOND_ACCESS_TOKEN = "sandbox-outreach-second-access-token"
OUTREACH_SECOND_REFRESH_TOKEN = "sandbox-outreach-second-refresh-token"
OUTREACH_CLIENT_ID = "sandbox-outreach-client"
OUTREACH_CLIENT_SECRET = "sandbox-outreach-client-secret"
REDIRECT_URI = "https://app.example.com/oauth/callback"
OUTREACH_SCOPES = (
    "sequences.read",
    "sequenceSteps.read",
    "sequenceSteps.write",
    "sequenceTemplates.read",
    "templates.read",
    "templates.write",
)
OUTREACH_READONLY_SCOPES = tuple(s for s in OUTREACH_SCOPES if s.endswith(".read"))

_APOLLO_PREFIX = "5f00000000000000000"


def _hex(number: int) -> str:
    return f"{_APOLLO_PREFIX}{number:05d}"


APOLLO_SEQUENCE_ACTIVE = _hex(101)
APOLLO_SEQUENCE_INACTIVE = _hex(102)
APOLLO_SEQUENCE_ARCHIVED = _hex(103)
APOLLO_SEQUENCE_NULL_ARRAYS = _hex(104)
APOLLO_SEQUENCE_NO_ARRAYS = _hex(105)

APOLLO_STEP_PLAIN = _hex(201)
APOLLO_STEP_REPLY = _hex(202)
APOLLO_STEP_AB_TEST = _hex(203)
APOLLO_STEP_SHARED_A = _hex(204)
APOLLO_STEP_SHARED_B = _hex(205)
APOLLO_STEP_CALL = _hex(206)
APOLLO_STEP_ACTION_ITEM = _hex(207)
APOLLO_STEP_LINKEDIN_MESSAGE = _hex(208)
APOLLO_STEP_DANGLING_TEMPLATE = _hex(209)
APOLLO_STEP_NO_TOUCHES = _hex(210)
APOLLO_STEP_ARCHIVED_TEMPLATE = _hex(211)
APOLLO_STEP_MANUAL_EMAIL = _hex(212)
APOLLO_STEP_INACTIVE_PLAIN = _hex(221)
APOLLO_STEP_INACTIVE_UNREVIEWED = _hex(222)
APOLLO_STEP_ARCHIVED_SEQUENCE = _hex(231)

APOLLO_TOUCH_PLAIN = _hex(301)
APOLLO_TOUCH_REPLY = _hex(302)
APOLLO_TOUCH_AB_FIRST = _hex(303)
APOLLO_TOUCH_AB_SECOND = _hex(304)
APOLLO_TOUCH_AB_THIRD = _hex(305)
APOLLO_TOUCH_SHARED_A = _hex(306)
APOLLO_TOUCH_SHARED_B = _hex(307)
APOLLO_TOUCH_LINKEDIN_MESSAGE = _hex(308)
APOLLO_TOUCH_DANGLING_TEMPLATE = _hex(309)
APOLLO_TOUCH_ARCHIVED_TEMPLATE = _hex(311)
APOLLO_TOUCH_MANUAL_EMAIL = _hex(312)
APOLLO_TOUCH_INACTIVE_PLAIN = _hex(321)
APOLLO_TOUCH_UNREVIEWED_FIRST = _hex(322)
APOLLO_TOUCH_UNREVIEWED_SECOND = _hex(323)
APOLLO_TOUCH_ARCHIVED_SEQUENCE = _hex(331)

APOLLO_TEMPLATE_PLAIN = _hex(401)
APOLLO_TEMPLATE_REPLY = _hex(402)
APOLLO_TEMPLATE_AB_FIRST = _hex(403)
APOLLO_TEMPLATE_AB_SECOND = _hex(404)
APOLLO_TEMPLATE_AB_THIRD = _hex(405)
APOLLO_TEMPLATE_SHARED = _hex(406)
APOLLO_TEMPLATE_LINKEDIN_MESSAGE = _hex(408)
APOLLO_TEMPLATE_MISSING = _hex(409)
APOLLO_TEMPLATE_ARCHIVED = _hex(411)
APOLLO_TEMPLATE_MANUAL_EMAIL = _hex(412)
APOLLO_TEMPLATE_INACTIVE_PLAIN = _hex(421)
APOLLO_TEMPLATE_UNREVIEWED_FIRST = _hex(422)
APOLLO_TEMPLATE_UNREVIEWED_SECOND = _hex(423)
APOLLO_TEMPLATE_ARCHIVED_SEQUENCE = _hex(431)
APOLLO_USER = _hex(901)

OUTREACH_SEQUENCE_ENABLED = 7
OUTREACH_SEQUENCE_DISABLED = 8
OUTREACH_SEQUENCE_LONG = 9
OUTREACH_USER = 1

OUTREACH_STEP_PLAIN = 101
OUTREACH_STEP_REPLY = 102
OUTREACH_STEP_AB_TEST = 103
OUTREACH_STEP_SHARED_A = 104
OUTREACH_STEP_SHARED_B = 105
OUTREACH_STEP_CALL = 106
OUTREACH_STEP_TASK = 107
OUTREACH_STEP_MANUAL_EMAIL = 108
OUTREACH_STEP_LINKEDIN_MESSAGE = 109
OUTREACH_STEP_ARCHIVED_TEMPLATE = 110
OUTREACH_STEP_NULL_TEMPLATE = 111
OUTREACH_STEP_GONE_TEMPLATE = 112
OUTREACH_STEP_NO_TEMPLATES = 113
OUTREACH_STEP_DISABLED_PLAIN = 121
OUTREACH_STEP_DISABLED_SHARED = 122
OUTREACH_STEP_LONG_FIRST = 131
OUTREACH_LONG_STEPS = 55

OUTREACH_SEQUENCE_TEMPLATE_PLAIN = 301
OUTREACH_SEQUENCE_TEMPLATE_REPLY = 302
OUTREACH_SEQUENCE_TEMPLATE_AB_FIRST = 303
OUTREACH_SEQUENCE_TEMPLATE_AB_SECOND = 304
OUTREACH_SEQUENCE_TEMPLATE_AB_THIRD = 305
OUTREACH_SEQUENCE_TEMPLATE_SHARED_A = 306
OUTREACH_SEQUENCE_TEMPLATE_SHARED_B = 307
OUTREACH_SEQUENCE_TEMPLATE_MANUAL_EMAIL = 308
OUTREACH_SEQUENCE_TEMPLATE_LINKEDIN_MESSAGE = 309
OUTREACH_SEQUENCE_TEMPLATE_ARCHIVED = 310
OUTREACH_SEQUENCE_TEMPLATE_NULL = 311
OUTREACH_SEQUENCE_TEMPLATE_GONE = 312
OUTREACH_SEQUENCE_TEMPLATE_DISABLED_PLAIN = 321
OUTREACH_SEQUENCE_TEMPLATE_DISABLED_SHARED = 322
OUTREACH_SEQUENCE_TEMPLATE_LONG_FIRST = 331

OUTREACH_TEMPLATE_PLAIN = 18
OUTREACH_TEMPLATE_REPLY = 19
OUTREACH_TEMPLATE_AB_FIRST = 20
OUTREACH_TEMPLATE_AB_SECOND = 21
OUTREACH_TEMPLATE_AB_THIRD = 22
OUTREACH_TEMPLATE_SHARED = 23
OUTREACH_TEMPLATE_MANUAL_EMAIL = 24
OUTREACH_TEMPLATE_LINKEDIN_MESSAGE = 25
OUTREACH_TEMPLATE_ARCHIVED = 26
OUTREACH_TEMPLATE_DISABLED_PLAIN = 27
OUTREACH_TEMPLATE_POPULAR = 28
OUTREACH_TEMPLATE_GONE = 99

_CREATED = "2026-01-12T09:30:00.000Z"
_UPDATED = "2026-03-02T16:05:41.000Z"


def _apollo_statistics(loading: str) -> Json:
    """Statistics as Apollo shows them: numbers, nulls and, while it counts, ``"loading"``."""
    return {
        "unique_scheduled": 12,
        "unique_delivered": 11,
        "unique_bounced": None,
        "unique_opened": loading,
        "unique_replied": 2,
        "unique_demoed": 0,
        "unique_clicked": loading,
        "unique_unsubscribed": None,
        "bounce_rate": 0.0,
        "open_rate": loading,
        "click_rate": None,
        "reply_rate": 0.18,
        "opt_out_rate": None,
        "demo_rate": 0,
    }


def _campaign(campaign_id: str, name: str, steps: int, *, active: bool, archived: bool) -> Json:
    return {
        "id": campaign_id,
        "name": name,
        "created_at": _CREATED,
        "active": active,
        "archived": archived,
        "label_ids": [],
        "num_steps": steps,
        "user_id": APOLLO_USER,
        "creation_type": "new",
        "max_emails_per_day": None,
        "emailer_schedule_id": _hex(801),
        "same_account_reply_delay_days": 30,
        "cc_emails": "",
        "bcc_emails": "",
        "loaded_stats": True,
        "starred_by_user_ids": [],
        "spam_blocked_rate": None,
        **_apollo_statistics("loading"),
    }


def _apollo_step(step_id: str, campaign_id: str, position: int, kind: str) -> Json:
    return {
        "id": step_id,
        "emailer_campaign_id": campaign_id,
        "position": position,
        "type": kind,
        "wait_mode": "day",
        "wait_time": 3,
        "note": "Mention the last call." if kind in ("call", "action_item") else None,
        "exact_datetime": None,
        "priority": "medium" if kind in ("call", "action_item") else None,
        "max_emails_per_day": None,
        "auto_skip_in_x_days": None,
        "counts": {"active": 4, "paused": 0, "finished": 9, "bounced": None, "not_sent": 1},
        "task_automation_settings": None,
    }


def _touch(touch_id: str, step_id: str, template_id: str, status: str, kind: str) -> Json:
    return {
        "id": touch_id,
        "emailer_step_id": step_id,
        "emailer_template_id": template_id,
        "status": status,
        "type": kind,
        "include_signature": True,
        "has_personalized_opener": False,
        "personalized_opener_fallback_option": None,
        "generic_personalized_opener": None,
        "unique_hard_bounced": "loading",
        "unique_spam_blocked": None,
        "attachment_ids": [],
        **_apollo_statistics("loading"),
    }


def apollo_template(template_id: str, name: str, subject: str | None, body: str | None) -> Json:
    """Make a template as Apollo shows it."""
    return {
        "id": template_id,
        "name": name,
        "user_id": APOLLO_USER,
        "subject": subject,
        "archived": False,
        "created_at": _CREATED,
        "global": False,
        "body_text": to_text(body),
        "folder_id": None,
        "body_html": body,
        "creation_type": "new",
        "label_ids": [],
        "prompt_id": None,
        "recommended_template_uuid": None,
    }


def new_apollo_step(step_id: str, campaign_id: str, position: int) -> Json:
    """Make a step that has neither a type of its own yet nor anybody in it."""
    return _apollo_step(step_id, campaign_id, position, "auto_email") | {"counts": None}


def new_apollo_touch(touch_id: str, step_id: str, template_id: str) -> Json:
    """Make a touch that nobody has reviewed."""
    return _touch(touch_id, step_id, template_id, "to_be_reviewed", "new_thread")


def apollo_data() -> ApolloData:
    """Make the seeded data of one Apollo team."""
    active, inactive = APOLLO_SEQUENCE_ACTIVE, APOLLO_SEQUENCE_INACTIVE
    archived = APOLLO_SEQUENCE_ARCHIVED
    campaigns = [
        _campaign(active, "Spring outreach", 12, active=True, archived=False),
        _campaign(inactive, "Paused outreach", 2, active=False, archived=False),
        _campaign(archived, "Last year's outreach", 1, active=False, archived=True),
        _campaign(
            APOLLO_SEQUENCE_NULL_ARRAYS, "Empty, null arrays", 0, active=False, archived=False
        ),
        _campaign(APOLLO_SEQUENCE_NO_ARRAYS, "Empty, no arrays", 0, active=False, archived=False),
    ]
    kinds = (
        (APOLLO_STEP_PLAIN, "auto_email"),
        (APOLLO_STEP_REPLY, "auto_email"),
        (APOLLO_STEP_AB_TEST, "auto_email"),
        (APOLLO_STEP_SHARED_A, "auto_email"),
        (APOLLO_STEP_SHARED_B, "auto_email"),
        (APOLLO_STEP_CALL, "call"),
        (APOLLO_STEP_ACTION_ITEM, "action_item"),
        (APOLLO_STEP_LINKEDIN_MESSAGE, "linkedin_step_message"),
        (APOLLO_STEP_DANGLING_TEMPLATE, "auto_email"),
        (APOLLO_STEP_NO_TOUCHES, "auto_email"),
        (APOLLO_STEP_ARCHIVED_TEMPLATE, "auto_email"),
        (APOLLO_STEP_MANUAL_EMAIL, "manual_email"),
    )
    steps = [
        *(_apollo_step(step, active, place, kind) for place, (step, kind) in enumerate(kinds, 1)),
        _apollo_step(APOLLO_STEP_INACTIVE_PLAIN, inactive, 1, "auto_email"),
        _apollo_step(APOLLO_STEP_INACTIVE_UNREVIEWED, inactive, 2, "auto_email"),
        _apollo_step(APOLLO_STEP_ARCHIVED_SEQUENCE, archived, 1, "auto_email"),
    ]
    approved, waiting, new = "approved", "to_be_reviewed", "new_thread"
    joins = (
        (301, APOLLO_STEP_PLAIN, APOLLO_TEMPLATE_PLAIN, approved, new),
        (302, APOLLO_STEP_REPLY, APOLLO_TEMPLATE_REPLY, approved, "reply_to_thread"),
        (303, APOLLO_STEP_AB_TEST, APOLLO_TEMPLATE_AB_FIRST, waiting, new),
        (304, APOLLO_STEP_AB_TEST, APOLLO_TEMPLATE_AB_SECOND, approved, new),
        (305, APOLLO_STEP_AB_TEST, APOLLO_TEMPLATE_AB_THIRD, approved, new),
        (306, APOLLO_STEP_SHARED_A, APOLLO_TEMPLATE_SHARED, approved, new),
        (307, APOLLO_STEP_SHARED_B, APOLLO_TEMPLATE_SHARED, approved, new),
        (308, APOLLO_STEP_LINKEDIN_MESSAGE, APOLLO_TEMPLATE_LINKEDIN_MESSAGE, approved, new),
        (309, APOLLO_STEP_DANGLING_TEMPLATE, APOLLO_TEMPLATE_MISSING, approved, new),
        (311, APOLLO_STEP_ARCHIVED_TEMPLATE, APOLLO_TEMPLATE_ARCHIVED, approved, new),
        (312, APOLLO_STEP_MANUAL_EMAIL, APOLLO_TEMPLATE_MANUAL_EMAIL, approved, new),
        (321, APOLLO_STEP_INACTIVE_PLAIN, APOLLO_TEMPLATE_INACTIVE_PLAIN, approved, new),
        (322, APOLLO_STEP_INACTIVE_UNREVIEWED, APOLLO_TEMPLATE_UNREVIEWED_FIRST, waiting, new),
        (323, APOLLO_STEP_INACTIVE_UNREVIEWED, APOLLO_TEMPLATE_UNREVIEWED_SECOND, waiting, new),
        (331, APOLLO_STEP_ARCHIVED_SEQUENCE, APOLLO_TEMPLATE_ARCHIVED_SEQUENCE, approved, new),
    )
    templates = [
        apollo_template(template_id, name, subject, f"<p>Hi {{{{first_name}}}},</p><p>{text}</p>")
        for template_id, name, subject, text in (
            (APOLLO_TEMPLATE_PLAIN, "Plain", "Quick question", "Do you have a minute?"),
            (APOLLO_TEMPLATE_REPLY, "Reply", None, "Did you see my last mail?"),
            (APOLLO_TEMPLATE_AB_FIRST, "Variant A", "Variant A", "This is variant A."),
            (APOLLO_TEMPLATE_AB_SECOND, "Variant B", "Variant B", "This is variant B."),
            (APOLLO_TEMPLATE_AB_THIRD, "Variant C", "Variant C", "This is variant C."),
            (APOLLO_TEMPLATE_SHARED, "Shared", "Following up", "Used by two steps."),
            (APOLLO_TEMPLATE_LINKEDIN_MESSAGE, "LinkedIn", None, "Nice to be connected."),
            (APOLLO_TEMPLATE_ARCHIVED, "Archived", "Old offer", "An offer that has ended."),
            (APOLLO_TEMPLATE_MANUAL_EMAIL, "Manual", "By hand", "Write this one yourself."),
            (APOLLO_TEMPLATE_INACTIVE_PLAIN, "Paused", "On hold", "Not sent at present."),
            (APOLLO_TEMPLATE_UNREVIEWED_FIRST, "Draft 1", "Draft 1", "Not reviewed."),
            (APOLLO_TEMPLATE_UNREVIEWED_SECOND, "Draft 2", "Draft 2", "Not reviewed either."),
            (APOLLO_TEMPLATE_ARCHIVED_SEQUENCE, "Last year", "Last year", "From last year."),
        )
    ]
    data = ApolloData(
        {record["id"]: record for record in campaigns},
        {record["id"]: record for record in steps},
        {_hex(number): _touch(_hex(number), *join) for number, *join in joins},
        {record["id"]: record for record in templates},
        {APOLLO_SEQUENCE_NULL_ARRAYS: True, APOLLO_SEQUENCE_NO_ARRAYS: False},
    )
    data.templates[APOLLO_TEMPLATE_ARCHIVED]["archived"] = True
    return data


def display_name(order: int | None, step_type: str | None) -> str:
    """Name a step the way Outreach does, by its order and type."""
    return f"Step #{order} ({(step_type or '').replace('_', ' ').capitalize()})"


def _resource(kind: str, number: int, links: dict[str, int | None], **attributes: Any) -> Resource:
    schema = SCHEMAS[kind]
    filled = schema.blank() | {"createdAt": _CREATED, "updatedAt": _UPDATED} | attributes
    people = {
        n: OUTREACH_USER for n in ("creator", "owner", "updater") if n in schema.relationships
    }
    ends = {n: None for n, r in schema.relationships.items() if r.kind == "one"} | people | links
    return Resource(kind, number, filled, ends)


def _sequence(number: int, name: str, steps: int, *, enabled: bool) -> Resource:
    return _resource(
        "sequence",
        number,
        {},
        name=name,
        enabled=enabled,
        enabledAt=_UPDATED if enabled else None,
        locked=False,
        automationPercentage=50.0,
        finishOnReply=True,
        primaryReplyAction="finish",
        secondaryReplyAction="continue",
        scheduleIntervalType="calendar",
        sequenceType="interval",
        shareType="shared",
        tags=["Inbound"],
        throttlePaused=False,
        transactional=False,
        sequenceStepCount=steps,
    )


def _outreach_step(number: int, sequence: int, order: int, step_type: str) -> Resource:
    return _resource(
        "sequenceStep",
        number,
        {"sequence": sequence},
        stepType=step_type,
        order=order,
        interval=259_200,
        displayName=display_name(order, step_type),
        taskNote="Mention the last call." if step_type in ("call", "task") else None,
    )


def _join(
    number: int, step: int, template: int | None, *, enabled: bool = True, reply: bool = False
) -> Resource:
    return _resource(
        "sequenceTemplate",
        number,
        {"sequenceStep": step, "template": template},
        enabled=enabled,
        enabledAt=_UPDATED if enabled else None,
        isReply=reply,
    )


def _outreach_template(number: int, name: str, subject: str | None, text: str) -> Resource:
    body = f"<p>Hi {{{{first_name}}}},</p><p>{text}</p>"
    return _resource(
        "template",
        number,
        {},
        name=name,
        subject=subject,
        bodyHtml=body,
        bodyText=to_text(body),
        archived=False,
        shareType="shared",
        tags=[],
        toRecipients=[],
        ccRecipients=[],
        bccRecipients=[],
        trackLinks=True,
        trackOpens=True,
    )


def outreach_data() -> OutreachData:
    """Make the seeded data of one Outreach user."""
    enabled, disabled, long = (
        OUTREACH_SEQUENCE_ENABLED,
        OUTREACH_SEQUENCE_DISABLED,
        OUTREACH_SEQUENCE_LONG,
    )
    kinds = (
        (OUTREACH_STEP_PLAIN, "auto_email"),
        (OUTREACH_STEP_REPLY, "auto_email"),
        (OUTREACH_STEP_AB_TEST, "auto_email"),
        (OUTREACH_STEP_SHARED_A, "auto_email"),
        (OUTREACH_STEP_SHARED_B, "auto_email"),
        (OUTREACH_STEP_CALL, "call"),
        (OUTREACH_STEP_TASK, "task"),
        (OUTREACH_STEP_MANUAL_EMAIL, "manual_email"),
        (OUTREACH_STEP_LINKEDIN_MESSAGE, "linkedin_send_message"),
        (OUTREACH_STEP_ARCHIVED_TEMPLATE, "auto_email"),
        (OUTREACH_STEP_NULL_TEMPLATE, "auto_email"),
        (OUTREACH_STEP_GONE_TEMPLATE, "auto_email"),
        (OUTREACH_STEP_NO_TEMPLATES, "auto_email"),
    )
    first, first_join, popular = (
        OUTREACH_STEP_LONG_FIRST,
        OUTREACH_SEQUENCE_TEMPLATE_LONG_FIRST,
        OUTREACH_TEMPLATE_POPULAR,
    )
    count = OUTREACH_LONG_STEPS
    shared = OUTREACH_TEMPLATE_SHARED
    archived = _outreach_template(26, "Archived", "Old offer", "An offer that has ended.")
    archived.attributes.update(archived=True, archivedAt=_UPDATED)
    everything = [
        _resource("user", OUTREACH_USER, {}, email="sam@example.com", name="Sam Seller"),
        _sequence(enabled, "Spring outreach", len(kinds), enabled=True),
        _sequence(disabled, "Paused outreach", 2, enabled=False),
        _sequence(long, "Long outreach", count, enabled=True),
        *(_outreach_step(step, enabled, n, kind) for n, (step, kind) in enumerate(kinds, 1)),
        _outreach_step(OUTREACH_STEP_DISABLED_PLAIN, disabled, 1, "auto_email"),
        _outreach_step(OUTREACH_STEP_DISABLED_SHARED, disabled, 2, "auto_email"),
        *(_outreach_step(first + n, long, n + 1, "auto_email") for n in range(count)),
        _join(301, OUTREACH_STEP_PLAIN, OUTREACH_TEMPLATE_PLAIN),
        _join(302, OUTREACH_STEP_REPLY, OUTREACH_TEMPLATE_REPLY, reply=True),
        _join(303, OUTREACH_STEP_AB_TEST, OUTREACH_TEMPLATE_AB_FIRST, enabled=False),
        _join(304, OUTREACH_STEP_AB_TEST, OUTREACH_TEMPLATE_AB_SECOND),
        _join(305, OUTREACH_STEP_AB_TEST, OUTREACH_TEMPLATE_AB_THIRD),
        _join(306, OUTREACH_STEP_SHARED_A, shared),
        _join(307, OUTREACH_STEP_SHARED_B, shared),
        _join(308, OUTREACH_STEP_MANUAL_EMAIL, OUTREACH_TEMPLATE_MANUAL_EMAIL),
        _join(309, OUTREACH_STEP_LINKEDIN_MESSAGE, OUTREACH_TEMPLATE_LINKEDIN_MESSAGE),
        _join(310, OUTREACH_STEP_ARCHIVED_TEMPLATE, OUTREACH_TEMPLATE_ARCHIVED),
        _join(311, OUTREACH_STEP_NULL_TEMPLATE, None),
        _join(312, OUTREACH_STEP_GONE_TEMPLATE, OUTREACH_TEMPLATE_GONE),
        _join(321, OUTREACH_STEP_DISABLED_PLAIN, OUTREACH_TEMPLATE_DISABLED_PLAIN),
        _join(322, OUTREACH_STEP_DISABLED_SHARED, shared),
        *(_join(first_join + n, first + n, popular) for n in range(count)),
        _outreach_template(18, "Plain", "Quick question", "Do you have a minute?"),
        _outreach_template(19, "Reply", None, "Did you see my last mail?"),
        _outreach_template(20, "Variant A", "Variant A", "This is variant A."),
        _outreach_template(21, "Variant B", "Variant B", "This is variant B."),
        _outreach_template(22, "Variant C", "Variant C", "This is variant C."),
        _outreach_template(shared, "Shared", "Following up", "Used by three steps."),
        _outreach_template(24, "Manual", "By hand", "Write this one yourself."),
        _outreach_template(25, "LinkedIn", None, "Nice to be connected."),
        archived,
        _outreach_template(27, "Paused", "On hold", "Not sent at present."),
        _outreach_template(popular, "Popular", "Hello again", "Used by many steps."),
    ]
    resources: dict[str, dict[int, Resource]] = {kind: {} for kind in SCHEMAS}
    for resource in everything:
        resources[resource.type][resource.id] = resource
    return OutreachData(resources)
