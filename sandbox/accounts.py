"""Accounts of customers at the providers, and the credentials that open them."""

import time
from dataclasses import dataclass, field

from sandbox import seed
from sandbox.limits import ApolloLimits, OutreachLimits
from sandbox.records import ApolloData, OutreachData

HABITS = {
    "apollo": ("wraps_bodies", "drops_writes", "sequences_need_a_key"),
    "outreach": ("drops_writes", "no_content", "meta_only"),
}
"""What each provider has been seen to do, or may do, to some accounts and not to others."""

TOKEN_LIFETIME = 7200.0
OUTREACH_HOURLY = 10_000


@dataclass(slots=True)
class Account:
    """One customer's account at a provider: its data, limits and terms.

    Attributes:
        id: Its name in the control API.
        provider: ``apollo`` or ``outreach``.
        limits: Its rate limits and their counters.
        scopes: What its tokens may do; None allows everything (Apollo only).
        token_lifetime: Seconds that a newly minted access token lives.
        client_id: The OAuth application that may refresh its tokens, with its secret and URI.
        mint_interval: Seconds between two mints for this user; 0 for no limit.
        last_mint: When a token was last minted, on the monotonic clock.
        latency: Seconds by which every answer is delayed.
        habits: Which of ``HABITS`` it has: ``wraps_bodies`` puts a document around each body;
            ``drops_writes`` answers writes of templates with the old record; an Outreach update is
            answered 204 with ``no_content``, and 200 without the record with ``meta_only``;
            ``sequences_need_a_key`` refuses OAuth tokens where a sequence is read.
        plan_has_access: Whether the plan includes the API at all.
        busy: Ids of the sequences on which a write is under way.
        api_key: The key to show in the control API; the same holds for the two tokens.
    """

    id: str
    provider: str
    apollo: ApolloData = field(default_factory=lambda: ApolloData({}, {}, {}, {}))
    outreach: OutreachData = field(default_factory=lambda: OutreachData({}))
    apollo_limits: ApolloLimits = field(default_factory=lambda: ApolloLimits.of(200, 600, 6000))
    outreach_limits: OutreachLimits = field(
        default_factory=lambda: OutreachLimits.of(OUTREACH_HOURLY)
    )
    scopes: frozenset[str] | None = None
    token_lifetime: float = TOKEN_LIFETIME
    client_id: str = ""
    client_secret: str = ""
    redirect_uri: str = seed.REDIRECT_URI
    mint_interval: float = 0.0
    last_mint: float | None = None
    latency: float = 0.0
    habits: frozenset[str] = frozenset()
    plan_has_access: bool = True
    busy: set[str] = field(default_factory=set)
    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None


@dataclass(slots=True)
class ApiKey:
    """An Apollo key. ``scopes`` are endpoint names; None makes it a master key."""

    account: Account
    scopes: frozenset[str] | None = None


@dataclass(slots=True)
class AccessToken:
    """An OAuth access token.

    Attributes:
        account: Whose it is.
        expires_at: Unix time in seconds.
        scopes: What it may do; None for whatever its account may do.
        seeded_dead: Whether it was made to be expired and must stay so.
    """

    account: Account
    expires_at: float
    scopes: frozenset[str] | None = None
    seeded_dead: bool = False

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at <= time.time()

    def allows(self, scope: str) -> bool:
        """Say whether the token may be used for a scope such as ``templates.write``."""
        scopes = self.account.scopes if self.scopes is None else self.scopes
        return scopes is None or scope in scopes or f"{scope.partition('.')[0]}.all" in scopes


@dataclass(slots=True)
class RefreshToken:
    """An OAuth refresh token; ``dead`` once it was used or revoked, ``expires_at`` in Unix time."""

    account: Account
    expires_at: float
    dead: bool = False
