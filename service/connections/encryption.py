"""Encrypts at rest: AES-256-GCM, bound to the connection or the row that something belongs to, under keys that can change."""

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.domain.credentials import ApiKeyCredentials, ConnectionKey, Credentials, OAuthCredentials, Secret

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_ID_CHARACTERS: Final = 16
_DAMAGED: Final = "what is stored was damaged, or belongs elsewhere"


class KeyringError(Exception):
    """The encryption keys cannot be used; the message says why, and shows none of them."""


class CannotDecrypt(Exception):
    """What is stored cannot be read: its key is missing, or it was changed or moved."""


class Sealed(msgspec.Struct, frozen=True):
    """Encrypted bytes, and the id of the key that they are under."""

    key_id: str
    ciphertext: bytes


class Keyring:
    """Encrypts under its first key, and decrypts under any of its keys.

    Attributes:
        current: The id of the first key.
    """

    def __init__(self, keys: dict[str, AESGCM]) -> None:
        self._keys = keys
        self.current = next(iter(keys))

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """Reads the keys of `SEQSTEP_ENCRYPTION_KEYS`.

        Raises:
            KeyringError: There is none, or one is not what `seqstep keygen` makes.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise KeyringError(
                "SEQSTEP_ENCRYPTION_KEYS is empty; make a key with `seqstep keygen`, keep it safe, and set it"
            )
        keys: dict[str, AESGCM] = {}
        for number, part in enumerate(parts, 1):
            try:
                # One that has its padding may have more.
                key = base64.urlsafe_b64decode(part.encode("ascii") + b"==")
            except ValueError:
                key = b""
            if len(key) != _KEY_BYTES:
                raise KeyringError(
                    f"key {number} of SEQSTEP_ENCRYPTION_KEYS is not one; a key has 43 characters of base64url, "
                    "as `seqstep keygen` makes it"
                )
            keys[hashlib.sha256(b"seqstep.key-id" + key).hexdigest()[:_KEY_ID_CHARACTERS]] = AESGCM(key)
        return cls(keys)

    @property
    def key_ids(self) -> Sequence[str]:
        """The ids of its keys; the first one encrypts."""
        return tuple(self._keys)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    def seal(self, credentials: Credentials, key: ConnectionKey) -> Sealed:
        """Encrypts the credentials of a connection under the first key."""
        return self.seal_bytes(_dump(credentials), _associated_data(key))

    def open(self, sealed: Sealed, key: ConnectionKey) -> Credentials:
        """Decrypts the credentials of a connection.

        Raises:
            CannotDecrypt: The encryption key is missing, or the ciphertext is not what was stored for this connection.
        """
        try:
            return _load(self.open_bytes(sealed, _associated_data(key)))
        except msgspec.DecodeError:
            raise CannotDecrypt(_DAMAGED) from None

    def seal_bytes(self, plaintext: bytes, associated: bytes) -> Sealed:
        """Encrypts bytes under the first key; they decrypt only together with the associated ones."""
        nonce = os.urandom(_NONCE_BYTES)
        return Sealed(self.current, nonce + self._keys[self.current].encrypt(nonce, plaintext, associated))

    def open_bytes(self, sealed: Sealed, associated: bytes) -> bytes:
        """Decrypts bytes.

        Raises:
            CannotDecrypt: The encryption key is missing, or this is not what was encrypted with the associated bytes.
        """
        cipher = self._keys.get(sealed.key_id)
        if cipher is None:
            raise CannotDecrypt(f"the encryption key {sealed.key_id} is not in SEQSTEP_ENCRYPTION_KEYS")
        nonce, ciphertext = sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, associated)
        except (InvalidTag, ValueError):
            raise CannotDecrypt(_DAMAGED) from None


def generate_key() -> str:
    """Makes a new random key, as `SEQSTEP_ENCRYPTION_KEYS` wants it."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)).decode().rstrip("=")


def _associated_data(key: ConnectionKey) -> bytes:
    """The connection as bytes, without which its credentials do not decrypt; different for every two connections."""
    return msgspec.json.encode(["seqstep.connection.v1", key.application_id, key.customer_id, str(key.provider)])


class _Plaintext(msgspec.Struct, omit_defaults=True):
    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_at: float | None = None
    client_id: str = ""
    client_secret: str = ""
    redirect_uri: str = ""
    issued_at: float | None = None
    scope: str = ""


def _dump(credentials: Credentials) -> bytes:
    match credentials:
        case ApiKeyCredentials(api_key):
            plaintext = _Plaintext(api_key=api_key.reveal())
        case OAuthCredentials() as grant:
            plaintext = _Plaintext(
                access_token=grant.access_token.reveal(),
                refresh_token=grant.refresh_token.reveal() if grant.refresh_token else None,
                expires_at=grant.expires_at,
                client_id=grant.client_id,
                client_secret=grant.client_secret.reveal(),
                redirect_uri=grant.redirect_uri,
                issued_at=grant.issued_at,
                scope=grant.scope,
            )
    return msgspec.json.encode(plaintext)


def _load(plaintext: bytes) -> Credentials:
    stored = msgspec.json.decode(plaintext, type=_Plaintext)
    if stored.api_key is not None:
        return ApiKeyCredentials(Secret(stored.api_key))
    return OAuthCredentials(
        access_token=Secret(stored.access_token or ""),
        refresh_token=Secret(stored.refresh_token) if stored.refresh_token else None,
        expires_at=stored.expires_at,
        client_id=stored.client_id,
        client_secret=Secret(stored.client_secret),
        redirect_uri=stored.redirect_uri,
        issued_at=stored.issued_at,
        scope=stored.scope,
    )
