"""Records and responses of Outreach for tests of its adapter, as the provider documents and shows them."""

from typing import Any

from service.domain.step import Provider, StepUpdate

SEQUENCE, STEP, TEMPLATE = 54, 7, 18


def link(kind: str, id: int | None) -> dict[str, Any]:
    return {"data": {"type": kind, "id": id} if id is not None else None}


def variant(
    id: int = 1, template: int | None = TEMPLATE, *, enabled: bool = True, is_reply: bool = False
) -> dict[str, Any]:
    return {
        "type": "sequenceTemplate",
        "id": id,
        "attributes": {"enabled": enabled, "isReply": is_reply, "openCount": 3},
        "relationships": {"sequenceStep": link("sequenceStep", STEP), "template": link("template", template)},
    }


def template(id: int = TEMPLATE, **more: Any) -> dict[str, Any]:
    attributes = {"subject": "Old", "bodyHtml": "<p>Old</p>", "archived": False, "unknown": {}} | more
    return {"type": "template", "id": id, "attributes": attributes}


def step(sequence: int | None = SEQUENCE, **more: Any) -> dict[str, Any]:
    return {
        "type": "sequenceStep",
        "id": STEP,
        "attributes": {"stepType": "auto_email", "interval": 3600} | more,
        "relationships": {"sequence": link("sequence", sequence)},
    }


def sequence(*, enabled: bool = False) -> dict[str, Any]:
    return {"type": "sequence", "id": SEQUENCE, "attributes": {"enabled": enabled}}


def answer(*variants: dict[str, Any], included: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "data": list(variants) or [variant()],
        "included": included if included is not None else [template(), step(), sequence(), {"type": "user", "id": 1}],
    }


def update(**wanted: Any) -> StepUpdate:
    ids = {"sequence_id": str(SEQUENCE), "sequence_step_id": str(STEP)}
    return StepUpdate(**{"provider": Provider("outreach"), "customer_id": "acme"} | ids | wanted)
