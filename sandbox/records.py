"""What one account holds at its provider."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


def _copied(records: dict[str, Json]) -> dict[str, Json]:
    return {key: dict(record) for key, record in records.items()}


@dataclass(slots=True)
class ApolloData:
    """The sequences of one Apollo team, each record as Apollo would show it, by its id.

    Attributes:
        campaigns: Sequences; Apollo's older name for them is emailer campaigns.
        steps: Steps of all sequences.
        touches: Joins of steps to templates.
        templates: Email and message templates.
        bare: Sequences whose answer has ``null`` (True) or no (False) arrays.
    """

    campaigns: dict[str, Json]
    steps: dict[str, Json]
    touches: dict[str, Json]
    templates: dict[str, Json]
    bare: dict[str, bool] = field(default_factory=dict)

    def copy(self) -> "ApolloData":
        """Copy every record; values inside are replaced, never changed in place."""
        return ApolloData(
            _copied(self.campaigns),
            _copied(self.steps),
            _copied(self.touches),
            _copied(self.templates),
            dict(self.bare),
        )

    def steps_of(self, campaign_id: str) -> list[Json]:
        """Return the steps of a sequence in the order in which they were stored."""
        return [s for s in self.steps.values() if s["emailer_campaign_id"] == campaign_id]

    def touches_of(self, step_ids: set[str]) -> list[Json]:
        """Return the touches of some steps in the order in which they were stored."""
        return [t for t in self.touches.values() if t["emailer_step_id"] in step_ids]

    def campaigns_using(self, template_id: str, status: str | None = None) -> set[str]:
        """Return the sequences in which a template is used, by touches of a status if given."""
        return {
            self.steps[touch["emailer_step_id"]]["emailer_campaign_id"]
            for touch in self.touches.values()
            if touch["emailer_template_id"] == template_id
            and touch["emailer_step_id"] in self.steps
            and status in (None, touch["status"])
        }


@dataclass(slots=True)
class Resource:
    """One JSON:API resource at Outreach.

    Attributes:
        type: Its resource type, such as ``template``.
        id: Its number.
        attributes: All attributes by name.
        links: The number at the far end of each to-one relationship, None when empty.
    """

    type: str
    id: int
    attributes: Json
    links: dict[str, int | None]


@dataclass(slots=True)
class OutreachData:
    """What one Outreach user sees: resources by type and number."""

    resources: dict[str, dict[int, Resource]]

    def copy(self) -> "OutreachData":
        """Copy every resource; attribute values are replaced, never changed in place."""
        return OutreachData(
            {
                kind: {
                    number: Resource(r.type, r.id, dict(r.attributes), dict(r.links))
                    for number, r in resources.items()
                }
                for kind, resources in self.resources.items()
            }
        )

    def get(self, kind: str, number: int | None) -> Resource | None:
        """Return a resource, or None when there is none of that type and number."""
        return None if number is None else self.resources.get(kind, {}).get(number)

    def all(self, kind: str) -> list[Resource]:
        """Return the resources of a type in the order of their numbers."""
        return list(self.resources.get(kind, {}).values())
