"""What a provider made of texts that it was sent, so that the same text is not written again and again."""

import hashlib
from collections import OrderedDict
from typing import Final, TypeAlias, TypeVar

import msgspec

from service.domain.credentials import CredentialsId
from service.domain.html import visible_text
from service.domain.json_value import JsonValue, json_equal
from service.domain.step import BODY, FieldChange

T = TypeVar("T")

_MAX_REMEMBERED: Final = 10_000

_Field: TypeAlias = tuple[CredentialsId, str, str]


class StoredForms:
    """Remembers, for the latest 10,000 texts that a provider stored differently, what it holds in their place.

    Providers wrap and clean bodies (observed), each by rules of its own that change. Digests are kept, and no texts.
    """

    def __init__(self) -> None:
        self._forms: OrderedDict[tuple[_Field, bytes], bytes] = OrderedDict()
        # The bodies that were written last, and not shown since.
        self._unshown: OrderedDict[_Field, bytes] = OrderedDict()

    def remember(self, credentials: CredentialsId, path: str, sent: FieldChange, stored: JsonValue) -> None:
        """Takes note of what the provider holds after it was sent a value.

        Args:
            credentials: What the record was written with.
            path: The path of the record.
            sent: The field, with the value that was sent.
            stored: What the provider holds now.
        """
        is_as_sent = json_equal(sent.after, stored)
        if is_as_sent and not self._forms:
            return
        key = ((credentials, path, sent.field), _digest(sent.after))
        if is_as_sent:
            self._forms.pop(key, None)
        else:
            _put(self._forms, key, _digest(stored))

    def remember_unshown(self, credentials: CredentialsId, path: str, sent: FieldChange) -> None:
        """Takes note of a body that the provider took without showing what it holds now; the next read shows it."""
        if sent.field == BODY:
            _put(self._unshown, (credentials, path, sent.field), _digest(sent.after))

    def forget_unshown(self, credentials: CredentialsId, path: str) -> None:
        """Takes note that a record is written again, whatever comes of it: what it holds then may be of another body."""
        self._unshown.pop((credentials, path, BODY), None)

    def is_stored_form(self, credentials: CredentialsId, path: str, field: FieldChange) -> bool:
        """Whether what the provider holds is what it made of the wanted value before."""
        if not self._forms and not self._unshown:
            return False
        where, wanted = (credentials, path, field.field), _digest(field.after)
        if self._unshown.get(where) == wanted and _reads_the_same(field):
            del self._unshown[where]
            _put(self._forms, (where, wanted), _digest(field.before))
        return self._forms.get((where, wanted)) == _digest(field.before)


def _put(remembered: OrderedDict[T, bytes], key: T, digest: bytes) -> None:
    remembered[key] = digest
    remembered.move_to_end(key)
    if len(remembered) > _MAX_REMEMBERED:
        remembered.popitem(last=False)


def _reads_the_same(field: FieldChange) -> bool:
    before, after = field.before, field.after
    if not isinstance(before, str) or not isinstance(after, str):
        return False
    text = visible_text(before)
    return text is not None and text == visible_text(after)


def _digest(value: JsonValue) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(value, order="sorted"), digest_size=16).digest()
