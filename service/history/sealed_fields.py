"""Encrypts the values of changes as credentials are, each bound to the row that it belongs to."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from service.connections.encryption import Keyring, Sealed
from service.domain.step import FieldChange

_Stored = list[tuple[str, Any, Any, bool]]
_DECODER: Final = msgspec.json.Decoder(_Stored)


class RowKey(msgspec.Struct, frozen=True):
    """What a row says beside its values and its state; without it they do not decrypt."""

    id: bytes
    application_id: int
    customer_id: str
    provider: str
    sequence_id: str
    sequence_step_id: str
    template_id: str
    request_id: str
    reverts: bytes | None


def seal(keyring: Keyring, key: RowKey, fields: Sequence[FieldChange]) -> Sealed:
    """Encrypts the values of a change."""
    plaintext = msgspec.json.encode([(each.field, each.before, each.after, each.is_new) for each in fields])
    return keyring.seal_bytes(plaintext, _associated(key))


def unseal(keyring: Keyring, key: RowKey, sealed: Sealed) -> list[FieldChange]:
    """Decrypts the values of a change.

    Raises:
        CannotDecrypt: The key is missing, or the ciphertext is not what was stored in this row.
    """
    stored = _DECODER.decode(keyring.open_bytes(sealed, _associated(key)))
    return [FieldChange(field, before, after, is_new=is_new) for field, before, after, is_new in stored]


def moved(keyring: Keyring, key: RowKey, sealed: Sealed) -> Sealed:
    """The same values under the first key.

    Raises:
        CannotDecrypt: As `unseal`.
    """
    associated = _associated(key)
    return keyring.seal_bytes(keyring.open_bytes(sealed, associated), associated)


def _associated(key: RowKey) -> bytes:
    return msgspec.json.encode(("seqstep.step-change.v1", *msgspec.structs.astuple(key)))
