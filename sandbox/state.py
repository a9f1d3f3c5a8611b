"""Everything that the sandbox knows at one moment: accounts, credentials, received calls and faults."""

import secrets
import time
from collections.abc import Iterable
from typing import Any

from sandbox import seed
from sandbox.accounts import TOKEN_LIFETIME, AccessToken, Account, ApiKey, RefreshToken
from sandbox.calls import CallLog
from sandbox.faults import Faults
from sandbox.limits import ApolloLimits
from sandbox.messages import Call

REFRESH_TOKEN_LIFETIME = 14 * 86_400.0
OUTREACH_MINT_INTERVAL = 60.0


class State:
    """All that changes while the sandbox runs. ``reset`` brings it back to the seed."""

    def __init__(self) -> None:
        self.log = CallLog()
        self.faults = Faults()
        self._apollo_seed = seed.apollo_data()
        self._outreach_seed = seed.outreach_data()
        self.reset()

    def reset(self) -> None:
        """Bring data, credentials, calls, faults, limits and settings back to the seed."""
        self.latency = 0.0
        self.accounts: dict[str, Account] = {}
        self.api_keys: dict[str, ApiKey] = {}
        self.access_tokens: dict[str, AccessToken] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.log.clear()
        self.faults.clear()
        self._made = 0
        self._seed_apollo()
        self._seed_outreach()

    def _seed_apollo(self) -> None:
        main = self._add(seed.APOLLO_ACCOUNT, "apollo")
        self._key(main, seed.APOLLO_MASTER_KEY)
        self.api_keys[seed.APOLLO_SCOPED_KEY] = ApiKey(main, frozenset({"api/v1/contacts/search"}))
        main.client_id, main.client_secret = seed.APOLLO_CLIENT_ID, seed.APOLLO_CLIENT_SECRET
        self._tokens(main, seed.APOLLO_ACCESS_TOKEN, seed.APOLLO_REFRESH_TOKEN)
        self.access_tokens[seed.APOLLO_EXPIRED_TOKEN] = AccessToken(main, 0, seeded_dead=True)
        second = self._add(seed.APOLLO_SECOND_ACCOUNT, "apollo")
        second.apollo_limits = ApolloLimits.of(50, 200, 600)
        self._key(second, seed.APOLLO_SECOND_KEY)
        unlimited = self._add(seed.APOLLO_UNLIMITED_ACCOUNT, "apollo")
        unlimited.apollo_limits = ApolloLimits.of(None, None, None)
        self._key(unlimited, seed.APOLLO_UNLIMITED_KEY)
        free = self._add(seed.APOLLO_FREE_ACCOUNT, "apollo")
        free.plan_has_access = False
        self._key(free, seed.APOLLO_FREE_KEY)

    def _seed_outreach(self) -> None:
        main = self._add(seed.OUTREACH_ACCOUNT, "outreach")
        second = self._add(seed.OUTREACH_SECOND_ACCOUNT, "outreach")
        for account in (main, second):
            account.scopes = frozenset(seed.OUTREACH_SCOPES)
            account.mint_interval = OUTREACH_MINT_INTERVAL
            account.client_id = seed.OUTREACH_CLIENT_ID
            account.client_secret = seed.OUTREACH_CLIENT_SECRET
        self._tokens(main, seed.OUTREACH_ACCESS_TOKEN, seed.OUTREACH_REFRESH_TOKEN)
        self._tokens(second, seed.OUTREACH_SECOND_ACCESS_TOKEN, seed.OUTREACH_SECOND_REFRESH_TOKEN)
        readonly = frozenset(seed.OUTREACH_READONLY_SCOPES)
        self.access_tokens[seed.OUTREACH_READONLY_TOKEN] = AccessToken(
            main, time.time() + TOKEN_LIFETIME, readonly
        )
        self.access_tokens[seed.OUTREACH_EXPIRED_TOKEN] = AccessToken(main, 0, seeded_dead=True)

    def _add(self, account_id: str, provider: str) -> Account:
        account = Account(account_id, provider)
        if provider == "apollo":
            account.apollo = self._apollo_seed.copy()
        else:
            account.outreach = self._outreach_seed.copy()
        self.accounts[account_id] = account
        return account

    def _key(self, account: Account, key: str) -> None:
        account.api_key = key
        self.api_keys[key] = ApiKey(account, account.scopes)

    def _tokens(self, account: Account, access: str, refresh: str) -> None:
        now = time.time()
        account.access_token, account.refresh_token = access, refresh
        self.access_tokens[access] = AccessToken(account, now + account.token_lifetime)
        self.refresh_tokens[refresh] = RefreshToken(account, now + REFRESH_TOKEN_LIFETIME)

    def create_account(
        self,
        provider: str,
        auth: str,
        token_lifetime: float = TOKEN_LIFETIME,
        scopes: Iterable[str] | None = None,
    ) -> Account:
        """Make another account with random credentials and its own copy of the seeded data.

        Args:
            provider: ``apollo`` or ``outreach``.
            auth: ``api_key`` (Apollo only) or ``oauth``.
            token_lifetime: Seconds that its access tokens live.
            scopes: What its credentials may do; None for the provider's usual set.
        """
        self._made += 1
        account = self._add(f"{provider}-{self._made}", provider)
        account.token_lifetime = token_lifetime
        if provider == "outreach":
            account.mint_interval = OUTREACH_MINT_INTERVAL
            scopes = seed.OUTREACH_SCOPES if scopes is None else scopes
        account.scopes = None if scopes is None else frozenset(scopes)
        if auth == "api_key":
            self._key(account, f"key-{secrets.token_hex(12)}")
            return account
        account.client_id = f"client-{secrets.token_hex(6)}"
        account.client_secret = f"secret-{secrets.token_hex(12)}"
        self._tokens(account, f"access-{secrets.token_hex(12)}", f"refresh-{secrets.token_hex(12)}")
        return account

    def mint(self, used: RefreshToken) -> tuple[str, str]:
        """Rotate: kill a refresh token and issue a new access and refresh token."""
        used.dead = True
        access, refresh = f"access-{secrets.token_hex(16)}", f"refresh-{secrets.token_hex(16)}"
        self._tokens(used.account, access, refresh)
        used.account.last_mint = time.monotonic()
        return access, refresh

    def expire_tokens(self, account: Account, seconds: float) -> None:
        """Let the account's access tokens end so many seconds from now, 0 for at once."""
        end = time.time() + seconds
        for token in self.access_tokens.values():
            if token.account is account and not token.seeded_dead:
                token.expires_at = end

    def revoke_refresh_tokens(self, account: Account) -> None:
        """Make every refresh token of the account useless, as when a customer disconnects."""
        for token in self.refresh_tokens.values():
            if token.account is account:
                token.dead = True

    def set_client_secret(self, account: Account, secret: str) -> None:
        """Change the secret of the account's OAuth application, for all its users."""
        for other in self.accounts.values():
            if other.client_id == account.client_id:
                other.client_secret = secret

    def set_scopes(self, account: Account, scopes: frozenset[str]) -> None:
        """Change what the account's credentials may do, save those seeded with other scopes."""
        previous, account.scopes = account.scopes, scopes
        for key in self.api_keys.values():
            if key.account is account and key.scopes == previous:
                key.scopes = scopes

    def identify(self, call: Call) -> Account | None:
        """Return the account whose credentials a call carries, whether or not they still work."""
        key = self.api_keys.get(call.headers.get("X-Api-Key", ""))
        if key is not None and key.account.provider == call.provider:
            return key.account
        token = self.access_tokens.get(call.bearer or "")
        if token is not None and token.account.provider == call.provider:
            return token.account
        return None

    def describe(self, account: Account) -> dict[str, Any]:
        """Show an account and its credentials for the control API."""
        token = self.access_tokens.get(account.access_token or "")
        shown: dict[str, Any] = {
            "id": account.id,
            "provider": account.provider,
            "auth": "oauth" if account.api_key is None else "api_key",
        }
        if account.api_key is not None:
            shown["api_key"] = account.api_key
        if token is not None:
            shown |= {
                "access_token": account.access_token,
                "refresh_token": account.refresh_token,
                "client_id": account.client_id,
                "client_secret": account.client_secret,
                "redirect_uri": account.redirect_uri,
                "expires_at": int(token.expires_at),
                "token_lifetime_seconds": account.token_lifetime,
                "mint_interval_seconds": account.mint_interval,
            }
        limits = account.apollo_limits if account.provider == "apollo" else account.outreach_limits
        return shown | {
            "scopes": None if account.scopes is None else sorted(account.scopes),
            "rate_limits": limits.describe(),
            "latency_seconds": account.latency,
            "habits": sorted(account.habits),
        }
