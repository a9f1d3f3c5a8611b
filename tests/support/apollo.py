"""Records and responses of Apollo for tests of its adapter, as the provider documents and shows them."""

from typing import Any

from service.domain.step import Provider, StepUpdate

SEQUENCE = "5f0000000000000000000001"
STEP, OTHER = "5f0000000000000000000101", "5f0000000000000000000102"
TEMPLATE = "5f0000000000000000000301"


def touch(id: str = "t1", step: str = STEP, template: str | None = TEMPLATE, **more: Any) -> dict[str, Any]:
    base = {"id": id, "emailer_step_id": step, "emailer_template_id": template, "status": "approved"}
    return base | {"type": "new_thread", "bounce_rate": "loading"} | more


def template(id: str = TEMPLATE, **more: Any) -> dict[str, Any]:
    return {"id": id, "subject": "Old", "body_html": "<p>Old</p>", "archived": False, "unknown": [{}]} | more


def answer(**parts: Any) -> dict[str, Any]:
    whole = {
        "emailer_campaign": {"id": SEQUENCE, "active": False},
        "emailer_steps": [
            {"id": STEP, "type": "auto_email", "position": 1, "wait_time": 3, "note": None},
            {"id": OTHER, "type": "call", "position": 2},
        ],
        "emailer_touches": [touch()],
        "emailer_templates": [template()],
    }
    return whole | parts


def update(**wanted: Any) -> StepUpdate:
    return StepUpdate(
        **{"provider": Provider("apollo"), "customer_id": "acme", "sequence_id": SEQUENCE, "sequence_step_id": STEP}
        | wanted
    )
