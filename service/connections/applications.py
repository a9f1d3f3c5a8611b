"""Authenticates applications by API key or client certificate, and manages both."""

import contextlib
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
from sqlalchemy.ext.asyncio import AsyncConnection

from service.connections.cache import Cache
from service.connections.database_failure import StoreUnavailable
from service.connections.errors import AuthenticationUnavailable
from service.connections.schema import api_keys, applications, certificates
from service.connections.store import Store
from service.domain.certificate_names import InvalidName, parse_name
from service.domain.credentials import Secret
from service.domain.deadline import Deadline
from service.domain.errors import unauthenticated
from service.domain.step import Caller

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEY: Final = re.compile(r"seqstep_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")

# Looked up and compared for a key of the wrong form or unknown, so that its refusal takes as long as any other.
_UNKNOWN_PREFIX: Final = "-"

_BY_PREFIX: Final = (
    select(
        api_keys.c.digest,
        api_keys.c.expires_at,
        api_keys.c.may_manage,
        applications.c.id,
        applications.c.name,
        applications.c.disabled_at,
    )
    .join(applications, applications.c.id == api_keys.c.application_id)
    .where(api_keys.c.prefix == bindparam("prefix"))
)
_BY_IDENTITY: Final = (
    select(applications.c.id, applications.c.name, certificates.c.may_manage)
    .join(certificates, certificates.c.application_id == applications.c.id)
    .where(certificates.c.identity == bindparam("identity"), applications.c.disabled_at.is_(None))
)

_LONGEST_CACHE_SECONDS: Final = 5.0
"""How long a key that was revoked may still be accepted."""


class ApplicationError(Exception):
    """A command on an application cannot be carried out; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ApiKeySummary:
    """An API key without its secret part, for people.

    Attributes:
        prefix: The part by which it is looked up.
        created_at: When it was made, as a Unix time in seconds.
        expires_at: When it ends; None for never.
        may_manage: Whether calls with it may set and delete connections.
    """

    prefix: str
    created_at: float
    expires_at: float | None
    may_manage: bool


@dataclass(frozen=True, slots=True)
class Application:
    """An application, for people.

    Attributes:
        id: The key of its row.
        name: What people call it.
        created_at: When it was made, as a Unix time in seconds.
        disabled_at: When it was disabled; None if it was not.
        keys: Its keys, the oldest first.
        identities: The names of the client certificates that authenticate it.
    """

    id: int
    name: str
    created_at: float
    disabled_at: float | None
    keys: tuple[ApiKeySummary, ...]
    identities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _StoredKey:
    digest: bytes
    caller: Caller | None
    expires_at: float | None


_UNKNOWN_KEY: Final = _StoredKey(bytes(32), None, None)


class Applications:
    """The applications that may call.

    What the database says is cached for `cache_seconds`, and for at most five seconds, so that a key that was revoked stops
    working within that time.
    """

    def __init__(self, store: Store, cache_seconds: float) -> None:
        self._store = store
        seconds = min(cache_seconds, _LONGEST_CACHE_SECONDS)
        self._keys: Cache[str, _StoredKey] = Cache(self._load_key, seconds)
        self._identities: Cache[str, Caller | None] = Cache(self._load_identity, seconds)

    async def authenticate(self, api_key: str | None, deadline: Deadline | None = None) -> Caller:
        """Finds the application that has the key.

        A missing, unknown, expired or disabled key is refused in the same words and the same time.

        Raises:
            CallRefused: The key is not valid.
            AuthenticationUnavailable: The database cannot be reached, or does not answer before the deadline.
        """
        match = _KEY.fullmatch(api_key or "")
        prefix = match[1] if match else _UNKNOWN_PREFIX
        digest = _digest(api_key or "")
        try:
            stored = await self._keys.get(prefix, _remaining(deadline))
        except (StoreUnavailable, TimeoutError):
            raise AuthenticationUnavailable from None
        is_right = hmac.compare_digest(digest, stored.digest)
        is_current = stored.expires_at is None or stored.expires_at > time.time()
        if stored.caller is None or not is_right or not is_current:
            raise unauthenticated()
        return stored.caller

    async def by_certificate(self, identities: Sequence[str], deadline: Deadline | None = None) -> Caller:
        """Finds the application that a verified client certificate authenticates, by the first of its names that is known.

        Raises:
            CallRefused: None of the names is known.
            AuthenticationUnavailable: The database cannot be reached, or does not answer before the deadline.
        """
        try:
            for identity in identities:
                caller = await self._identities.get(identity, _remaining(deadline))
                if caller is not None:
                    return caller
        except (StoreUnavailable, TimeoutError):
            raise AuthenticationUnavailable from None
        raise unauthenticated()

    async def _load_key(self, prefix: str) -> _StoredKey:
        row = await self._store.first(_BY_PREFIX, {"prefix": prefix})
        if row is None:
            return _UNKNOWN_KEY
        caller = Caller(row.id, row.name, row.may_manage) if row.disabled_at is None else None
        return _StoredKey(bytes(row.digest), caller, row.expires_at)

    async def _load_identity(self, identity: str) -> Caller | None:
        row = await self._store.first(_BY_IDENTITY, {"identity": identity})
        return Caller(row.id, row.name, row.may_manage) if row is not None else None

    async def create(self, name: str, *, may_manage: bool = False) -> Secret:
        """Makes an application and returns its API key, of which only a hash is stored.

        Args:
            name: What people call it.
            may_manage: Whether calls with the key may set and delete the application's connections.

        Raises:
            ApplicationError: The name is taken, or not allowed.
        """
        if not _NAME.fullmatch(name):
            raise ApplicationError(
                "a name has 1 to 100 letters, digits, `.`, `_` or `-`, and begins with a letter or digit"
            )

        async def insert_with_key(db: AsyncConnection) -> Secret:
            inserted = await db.execute(insert(applications).values(name=name, created_at=time.time()))
            (application_id,) = inserted.inserted_primary_key or (None,)
            key, values = _new_key(int(application_id), may_manage=may_manage)  # type: ignore[arg-type]  # an insert has a key
            await db.execute(insert(api_keys).values(**values))
            return key

        try:
            return await self._store.transact(insert_with_key)
        except IntegrityError:
            raise ApplicationError(f"there is an application {name} already; choose another name") from None

    async def rotate_key(
        self, name: str, old_keys_expire_after: float | None, *, may_manage: bool | None = None
    ) -> Secret:
        """Makes another API key for an application.

        Args:
            name: The application.
            old_keys_expire_after: After how many seconds the older ones expire, if not before; None to leave them.
            may_manage: Whether calls with it may set and delete connections; None for what the latest key may.

        Raises:
            ApplicationError: There is no such application.
        """
        application = await self.find(name)
        if may_manage is None:
            may_manage = bool(application.keys) and application.keys[-1].may_manage
        key, values = _new_key(application.id, may_manage=may_manage)

        async def replace_key(db: AsyncConnection) -> None:
            if old_keys_expire_after is not None:
                expires_at = time.time() + old_keys_expire_after
                await db.execute(
                    update(api_keys)
                    .where(api_keys.c.application_id == application.id)
                    .where((api_keys.c.expires_at.is_(None)) | (api_keys.c.expires_at > expires_at))
                    .values(expires_at=expires_at)
                )
            await db.execute(insert(api_keys).values(**values))

        await self._store.transact(replace_key)
        return key

    async def disable(self, name: str) -> None:
        """Disables an application: its calls are refused from now on, and its connections are kept.

        Raises:
            ApplicationError: There is no such application.
        """
        await self._set_disabled_at(name, time.time())

    async def enable(self, name: str) -> None:
        """Enables a disabled application again.

        Raises:
            ApplicationError: There is no such application.
        """
        await self._set_disabled_at(name, None)

    async def _set_disabled_at(self, name: str, disabled_at: float | None) -> None:
        application = await self.find(name)
        await self._store.execute(
            update(applications).where(applications.c.id == application.id).values(disabled_at=disabled_at)
        )

    async def map_certificate(self, name: str, identity: str, *, may_manage: bool = False) -> str:
        """Lets client certificates with this name authenticate an application.

        Args:
            name: The application.
            identity: The certificates' name, as `service.domain.certificate_names` writes it.
            may_manage: Whether calls with them may set and delete connections.

        Returns:
            The name as it counts.

        Raises:
            ApplicationError: There is no such application, it is no name, or the name is mapped already.
        """
        application = await self.find(name)
        try:
            identity = parse_name(identity)
        except InvalidName as error:
            raise ApplicationError(str(error)) from None
        try:
            await self._store.execute(
                insert(certificates).values(application_id=application.id, identity=identity, may_manage=may_manage)
            )
        except IntegrityError:
            raise ApplicationError(
                f"{identity} is mapped to an application already; unmap it with `seqstep app unmap-certificate`"
            ) from None
        return identity

    async def unmap_certificate(self, identity: str) -> None:
        """Ends what `map_certificate` began.

        Raises:
            ApplicationError: The name is not mapped.
        """
        known = {identity}
        with contextlib.suppress(InvalidName):
            known.add(parse_name(identity))
        if not await self._store.execute(delete(certificates).where(certificates.c.identity.in_(known))):
            raise ApplicationError(f"{identity} is mapped to no application")

    async def find(self, name: str) -> Application:
        """Finds an application by its name.

        Raises:
            ApplicationError: There is none.
        """
        for application in await self.list():
            if application.name == name:
                return application
        raise ApplicationError(f"there is no application {name}; `seqstep app list` shows those there are")

    async def list(self) -> list[Application]:
        """Lists all applications, by name."""
        async with self._store.begin() as db:
            rows = (await db.execute(select(applications).order_by(applications.c.name))).all()
            keys = (await db.execute(select(api_keys).order_by(api_keys.c.created_at))).all()
            identities = (await db.execute(select(certificates).order_by(certificates.c.identity))).all()
        return [
            Application(
                row.id,
                row.name,
                row.created_at,
                row.disabled_at,
                tuple(
                    ApiKeySummary(key.prefix, key.created_at, key.expires_at, key.may_manage)
                    for key in keys
                    if key.application_id == row.id
                ),
                tuple(each.identity for each in identities if each.application_id == row.id),
            )
            for row in rows
        ]


def _remaining(deadline: Deadline | None) -> float | None:
    return deadline.remaining() if deadline is not None else None


def _new_key(application_id: int, *, may_manage: bool) -> tuple[Secret, dict[str, object]]:
    prefix = secrets.token_hex(6)
    text = f"seqstep_{prefix}_{secrets.token_urlsafe(32)}"
    return Secret(text), {
        "application_id": application_id,
        "prefix": prefix,
        "digest": _digest(text),
        "created_at": time.time(),
        "may_manage": may_manage,
    }


def _digest(api_key: str) -> bytes:
    # A key has 256 random bits, so a slow hash would add nothing.
    return hashlib.sha256(api_key.encode("utf-8", "replace")).digest()
