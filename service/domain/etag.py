"""What a caller has seen of a step, as a short text to give back: one part for the template, one for the step's own fields."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Self

import msgspec

from service.domain.json_value import JsonValue, int_if_whole
from service.domain.step import BODY, CUSTOM_FIELDS, SUBJECT

UNREAD: Final = "-"
"""Stands for a part that was not read."""

_ETAG: Final = re.compile(r"(-|[0-9a-f]{32})\.(-|[0-9a-f]{32})", re.ASCII)
_WRAPPER: Final = re.compile(
    r"\s*<html>\s*<head>\s*</head>\s*<body>(.*)</body>\s*</html>\s*", re.IGNORECASE | re.DOTALL
)


class StepContent(msgspec.Struct, frozen=True):
    """What a step holds that an update could overwrite.

    Attributes:
        template_id: The template of the variant; empty if none was read.
        texts: Its `template.subject` and `template.body`; None if they were not read.
        fields: The step's own fields that an etag covers, by the provider's names; None if they were not read.
    """

    template_id: str = ""
    texts: Mapping[str, JsonValue] | None = None
    fields: Mapping[str, JsonValue] | None = None

    @property
    def custom_fields(self) -> dict[str, JsonValue] | None:
        """The step's own fields by their names in the contract."""
        if self.fields is None:
            return None
        return {f"{CUSTOM_FIELDS}.{name}": value for name, value in self.fields.items()}

    def with_values(self, texts: Mapping[str, JsonValue], fields: Mapping[str, JsonValue]) -> Self:
        """The content after values were written, by their names in the contract; what an etag does not cover is passed over."""
        present_texts, present_fields = self.texts, self.fields
        if present_texts is not None:
            present_texts = {**present_texts, **texts}
        if present_fields is not None:
            present_fields = {
                name: fields.get(f"{CUSTOM_FIELDS}.{name}", value) for name, value in present_fields.items()
            }
        return type(self)(self.template_id, present_texts, present_fields)


class StepEtag(msgspec.Struct, frozen=True):
    """Stands for a content; its parts are compared on their own.

    Attributes:
        template: Of the template and its texts, or `UNREAD`.
        fields: Of the step's own fields, or `UNREAD`.
    """

    template: str
    fields: str

    def __str__(self) -> str:
        return f"{self.template}.{self.fields}"

    @classmethod
    def of(cls, content: StepContent) -> Self:
        """The etag of a content."""
        texts, fields = content.texts, content.fields
        template = UNREAD
        if texts is not None:
            template = _digest([content.template_id, texts[SUBJECT], _without_wrapper(texts[BODY])])
        if fields is None:
            return cls(template, UNREAD)
        exact = {name: int_if_whole(value) if type(value) is float else value for name, value in fields.items()}
        return cls(template, _digest(exact))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The etag that a text is; None if it is none."""
        parts = _ETAG.fullmatch(text)
        return cls(parts[1], parts[2]) if parts else None


NOTHING_READ: Final = StepEtag(UNREAD, UNREAD)


def _digest(value: JsonValue) -> str:
    return hashlib.blake2b(msgspec.json.encode(value, order="sorted"), digest_size=16).hexdigest()


def _without_wrapper(body: JsonValue) -> JsonValue:
    """A body without the elements that a provider shows around it at one time and not at another (Apollo, observed)."""
    found = _WRAPPER.fullmatch(body) if isinstance(body, str) else None
    return found[1] if found else body
