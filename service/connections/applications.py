"""Applications, the keys they call with, and the client certificates that stand for them."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.connections.cache import Cache
from service.connections.schema import api_keys, applications, certificates
from service.connections.store import Store, StoreUnavailable
from service.domain.credentials import Secret
from service.domain.errors import CallRefused, ErrorCode, Problem, unauthenticated
from service.domain.step import Caller

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEY: Final = re.compile(r"seqstep_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")

# What is looked up and compared for a key that is not even of the right form, so that it takes as long as any other.
_NOBODY_PREFIX: Final = "-" * 12
_NOBODY_DIGEST: Final = bytes(32)

_BY_PREFIX: Final = (
    select(api_keys.c.digest, api_keys.c.expires_at, applications.c.id, applications.c.name, applications.c.disabled_at)
    .join(applications, applications.c.id == api_keys.c.application_id)
    .where(api_keys.c.prefix == bindparam("prefix"))
)
_BY_IDENTITY: Final = (
    select(applications.c.id, applications.c.name)
    .join(certificates, certificates.c.application_id == applications.c.id)
    .where(certificates.c.identity == bindparam("identity"), applications.c.disabled_at.is_(None))
)

_LOAD_SECONDS: Final = 5.0
"""Longest wait for a database that does not answer."""


class ApplicationError(Exception):
    """What was asked of an application cannot be done; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ApiKeySummary:
    """What may be shown of a key.

    Attributes:
        prefix: Its beginning, by which it is looked up.
        created_at: When it was made, as a Unix time in seconds.
        expires_at: When it ends; None for never.
    """

    prefix: str
    created_at: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Application:
    """A caller, as people manage it.

    Attributes:
        id: The key of its row.
        name: What people call it.
        created_at: When it was made, as a Unix time in seconds.
        disabled_at: When it was disabled; None if it was not.
        keys: Its keys, the oldest first.
        identities: The client certificates that stand for it.
    """

    id: int
    name: str
    created_at: float
    disabled_at: float | None
    keys: tuple[ApiKeySummary, ...] = ()
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _KnownKey:
    digest: bytes
    caller: Caller | None
    expires_at: float | None


class Applications:
    """Who may call.

    What the store says is kept for `cache_seconds`, and no longer than five seconds, so that a key that is taken away
    stops working within that time.
    """

    def __init__(self, store: Store, cache_seconds: float) -> None:
        self._store = store
        seconds = min(cache_seconds, 5.0)
        self._keys: Cache[str, _KnownKey] = Cache(self._load_key, seconds)
        self._identities: Cache[str, Caller | None] = Cache(self._load_identity, seconds)

    async def authenticate(self, api_key: str | None) -> Caller:
        """The application that has the key.

        A missing, unknown, expired or disabled key is refused in the same words and the same time.

        Raises:
            CallRefused: The key is not valid, or the store cannot be reached.
        """
        match = _KEY.fullmatch(api_key or "")
        prefix = match[1] if match else _NOBODY_PREFIX
        digest = _digest(api_key or "")
        try:
            known = await self._keys.get(prefix, _LOAD_SECONDS)
        except (StoreUnavailable, TimeoutError):
            raise _store_unavailable() from None
        is_right = hmac.compare_digest(digest, known.digest)
        is_current = known.expires_at is None or known.expires_at > time.time()
        if known.caller is None or not is_right or not is_current:
            raise unauthenticated()
        return known.caller

    async def by_certificate(self, identities: Sequence[str]) -> Caller:
        """The application that a verified client certificate stands for, by the first of its names that is known.

        Raises:
            CallRefused: None of the names is known, or the store cannot be reached.
        """
        try:
            for identity in identities:
                caller = await self._identities.get(identity, _LOAD_SECONDS)
                if caller is not None:
                    return caller
        except (StoreUnavailable, TimeoutError):
            raise _store_unavailable() from None
        raise unauthenticated()

    async def _load_key(self, prefix: str) -> _KnownKey:
        row = await self._store.first(_BY_PREFIX, {"prefix": prefix})
        if row is None:
            return _KnownKey(_NOBODY_DIGEST, None, None)
        caller = Caller(row.id, row.name) if row.disabled_at is None else None
        return _KnownKey(bytes(row.digest), caller, row.expires_at)

    async def _load_identity(self, identity: str) -> Caller | None:
        row = await self._store.first(_BY_IDENTITY, {"identity": identity})
        return Caller(row.id, row.name) if row is not None else None

    async def create(self, name: str) -> Secret:
        """Makes an application and returns its key, which is shown this once and cannot be had again.

        Raises:
            ApplicationError: The name is taken, or is no name.
        """
        if not _NAME.fullmatch(name):
            raise ApplicationError(
                "a name has 1 to 100 letters, digits, `.`, `_` or `-`, and begins with a letter or digit"
            )
        try:
            async with self._store.begin() as connection:
                made = await connection.execute(insert(applications).values(name=name, created_at=time.time()))
                (application_id,) = made.inserted_primary_key or (None,)
                key, values = _new_key(int(application_id))  # type: ignore[arg-type]  # an insert has a key
                await connection.execute(insert(api_keys).values(**values))
        except IntegrityError:
            raise ApplicationError(f"there is an application {name} already; choose another name") from None
        return key

    async def rotate_key(self, name: str, old_keys_end_after: float) -> Secret:
        """Makes another key for an application; the older ones end after so many seconds.

        Raises:
            ApplicationError: There is no such application.
        """
        application = await self.find(name)
        key, values = _new_key(application.id)
        end = time.time() + old_keys_end_after
        async with self._store.begin() as connection:
            await connection.execute(
                update(api_keys)
                .where(api_keys.c.application_id == application.id)
                .where((api_keys.c.expires_at.is_(None)) | (api_keys.c.expires_at > end))
                .values(expires_at=end)
            )
            await connection.execute(insert(api_keys).values(**values))
        return key

    async def disable(self, name: str) -> None:
        """Refuses all calls of an application from now on; its connections are kept.

        Raises:
            ApplicationError: There is no such application.
        """
        application = await self.find(name)
        async with self._store.begin() as connection:
            await connection.execute(
                update(applications).where(applications.c.id == application.id).values(disabled_at=time.time())
            )

    async def enable(self, name: str) -> None:
        """Serves a disabled application again.

        Raises:
            ApplicationError: There is no such application.
        """
        application = await self.find(name)
        async with self._store.begin() as connection:
            await connection.execute(
                update(applications).where(applications.c.id == application.id).values(disabled_at=None)
            )

    async def map_certificate(self, name: str, identity: str) -> None:
        """Lets the client certificates with this alternative or common name stand for an application.

        Raises:
            ApplicationError: There is no such application, or the name stands for another one.
        """
        application = await self.find(name)
        if not identity or len(identity) > 255:
            raise ApplicationError("the name of a certificate has 1 to 255 characters")
        try:
            async with self._store.begin() as connection:
                await connection.execute(insert(certificates).values(application_id=application.id, identity=identity))
        except IntegrityError:
            raise ApplicationError(
                f"{identity} stands for an application already; take it away with `seqstep app unmap-certificate`"
            ) from None

    async def unmap_certificate(self, identity: str) -> None:
        """Takes the meaning from a certificate's name.

        Raises:
            ApplicationError: It has none.
        """
        async with self._store.begin() as connection:
            gone = await connection.execute(delete(certificates).where(certificates.c.identity == identity))
        if not gone.rowcount:
            raise ApplicationError(f"{identity} stands for no application")

    async def find(self, name: str) -> Application:
        """The application with this name.

        Raises:
            ApplicationError: There is none.
        """
        for application in await self.list():
            if application.name == name:
                return application
        raise ApplicationError(f"there is no application {name}; `seqstep app list` shows those there are")

    async def list(self) -> list[Application]:
        """All applications, by name."""
        async with self._store.begin() as connection:
            rows = (await connection.execute(select(applications).order_by(applications.c.name))).all()
            keys = (await connection.execute(select(api_keys).order_by(api_keys.c.created_at))).all()
            names = (await connection.execute(select(certificates).order_by(certificates.c.identity))).all()
        return [
            Application(
                row.id,
                row.name,
                row.created_at,
                row.disabled_at,
                tuple(
                    ApiKeySummary(key.prefix, key.created_at, key.expires_at)
                    for key in keys
                    if key.application_id == row.id
                ),
                tuple(each.identity for each in names if each.application_id == row.id),
            )
            for row in rows
        ]


def _new_key(application_id: int) -> tuple[Secret, dict[str, object]]:
    prefix = secrets.token_hex(6)
    text = f"seqstep_{prefix}_{secrets.token_urlsafe(32)}"
    return Secret(text), {
        "application_id": application_id,
        "prefix": prefix,
        "digest": _digest(text),
        "created_at": time.time(),
    }


def _digest(api_key: str) -> bytes:
    # A key has 256 random bits, so that a plain hash is as good as a slow one.
    return hashlib.sha256(api_key.encode("utf-8", "replace")).digest()


def _store_unavailable() -> CallRefused:
    return CallRefused(
        Problem(
            ErrorCode.SERVICE_UNAVAILABLE_ERROR,
            "This server cannot reach its database at present; repeat the call in a moment.",
            retry_after=1.0,
        )
    )
