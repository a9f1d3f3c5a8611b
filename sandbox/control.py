"""The control API below ``/_sandbox/``: shows what the sandbox holds, changes accounts and settings, orders faults."""

import json
from dataclasses import asdict
from typing import Any

import msgspec

from sandbox.accounts import HABITS, Account
from sandbox.faults import InvalidFault
from sandbox.limits import InvalidLimits
from sandbox.messages import JSON, Answer
from sandbox.outreach_schema import COLLECTIONS
from sandbox.seed import APOLLO_ACCOUNT, OUTREACH_ACCOUNT
from sandbox.state import State

PREFIX = "/_sandbox"
_APOLLO_COLLECTIONS = {
    "emailer_campaigns": "campaigns",
    "emailer_steps": "steps",
    "emailer_touches": "touches",
    "emailer_templates": "templates",
}
_ACCOUNT_MEMBERS = frozenset(
    {
        "token_expires_in",
        "revoke_refresh_token",
        "rate_limits",
        "mint_interval_seconds",
        "scopes",
        "latency_seconds",
        "client_secret",
        "habits",
    }
)


class _Refused(Exception):
    """A control call that cannot be carried out; the message says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def handle(
    state: State, method: str, segments: list[str], query: dict[str, str], body: bytes
) -> Answer:
    """Carry out one control call; ``segments`` are those below ``/_sandbox``."""
    try:
        status, value = _dispatch(state, method, segments, query, body)
    except _Refused as error:
        status, value = error.status, {"error": str(error)}
    except (InvalidFault, InvalidLimits) as error:
        status, value = 400, {"error": str(error)}
    if status == 204:
        return Answer(status)
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return Answer(status, text.encode("utf-8", "replace"), [("Content-Type", JSON)])


def _dispatch(
    state: State, method: str, segments: list[str], query: dict[str, str], body: bytes
) -> tuple[int, Any]:
    match [method, *segments]:
        case ["GET"] | ["GET", ""]:
            return 200, _overview(state)
        case ["POST", "reset"]:
            state.reset()
            return 204, None
        case ["PATCH", "settings"]:
            return 200, _settings(state, _object(body))
        case ["GET", "settings"]:
            return 200, {"latency_seconds": state.latency}
        case ["GET", "calls"]:
            return 200, state.log.describe(query.get("provider"), query.get("account"))
        case ["DELETE", "calls"]:
            state.log.clear()
            return 204, None
        case ["GET", "counters"]:
            return 200, state.log.describe_counters()
        case [_, "accounts", *rest]:
            return _accounts(state, method, rest, body)
        case [_, "faults", *rest]:
            return _faults(state, method, rest, body)
        case ["GET", ("apollo" | "outreach") as provider, collection, *rest]:
            return 200, _records(_holder(state, provider, query), collection, rest)
    raise _Refused(404, f"there is no {method} {PREFIX}/{'/'.join(segments)}")


def _overview(state: State) -> dict[str, Any]:
    return {
        "accounts": f"{PREFIX}/accounts",
        "calls": f"{PREFIX}/calls",
        "counters": f"{PREFIX}/counters",
        "faults": f"{PREFIX}/faults",
        "settings": f"{PREFIX}/settings",
        "reset": f"POST {PREFIX}/reset",
        "apollo": [f"{PREFIX}/apollo/{name}" for name in _APOLLO_COLLECTIONS],
        "outreach": [f"{PREFIX}/outreach/{name}" for name in COLLECTIONS],
        "account_ids": list(state.accounts),
    }


def _settings(state: State, order: dict[str, Any]) -> dict[str, Any]:
    if set(order) != {"latency_seconds"}:
        raise _Refused(400, "the one setting is latency_seconds")
    state.latency = _seconds(order, "latency_seconds")
    return {"latency_seconds": state.latency}


def _accounts(state: State, method: str, rest: list[str], body: bytes) -> tuple[int, Any]:
    match [method, *rest]:
        case ["GET"]:
            return 200, [state.describe(account) for account in state.accounts.values()]
        case ["POST"]:
            return 201, state.describe(_create(state, _object(body)))
        case ["GET", account_id]:
            return 200, state.describe(_account(state, account_id))
        case ["PATCH", account_id]:
            account = _account(state, account_id)
            _change(state, account, _object(body))
            return 200, state.describe(account)
    raise _Refused(405, f"accounts have no {method}")


def _create(state: State, order: dict[str, Any]) -> Account:
    members = {"provider", "auth", "token_lifetime_seconds", "scopes", "rate_limits"}
    _refuse_unknown(order, members)
    provider = order.get("provider")
    if provider not in ("apollo", "outreach"):
        raise _Refused(400, "provider is required: apollo or outreach")
    auth = order.get("auth", "api_key" if provider == "apollo" else "oauth")
    if auth not in (("api_key", "oauth") if provider == "apollo" else ("oauth",)):
        raise _Refused(400, f"{provider} has no {auth!r} authentication")
    lifetime = _seconds(order, "token_lifetime_seconds") if "token_lifetime_seconds" in order else 0
    scopes = _scopes(order) if order.get("scopes") is not None else None
    account = state.create_account(provider, auth, lifetime or 7200.0, scopes)
    if "rate_limits" in order:
        _order_limits(account, order["rate_limits"])
    return account


def _change(state: State, account: Account, order: dict[str, Any]) -> None:
    _refuse_unknown(order, _ACCOUNT_MEMBERS)
    revoke = order.get("revoke_refresh_token", False)
    if not isinstance(revoke, bool):
        raise _Refused(400, "revoke_refresh_token must be true or false")
    seconds = {
        name: _seconds(order, name)
        for name in ("token_expires_in", "mint_interval_seconds", "latency_seconds")
        if name in order
    }
    scopes = _scopes(order) if "scopes" in order else None
    client_secret = order.get("client_secret", account.client_secret)
    if not isinstance(client_secret, str):
        raise _Refused(400, "client_secret must be a text")
    habits = _habits(account, order["habits"]) if "habits" in order else account.habits
    if "rate_limits" in order:
        _order_limits(account, order["rate_limits"])
    if "token_expires_in" in seconds:
        state.expire_tokens(account, seconds["token_expires_in"])
    if revoke:
        state.revoke_refresh_tokens(account)
    if scopes is not None:
        state.set_scopes(account, scopes)
    account.mint_interval = seconds.get("mint_interval_seconds", account.mint_interval)
    account.latency = seconds.get("latency_seconds", account.latency)
    account.habits = habits
    state.set_client_secret(account, client_secret)


def _habits(account: Account, value: Any) -> frozenset[str]:
    known = HABITS[account.provider]
    if not isinstance(value, list) or not all(name in known for name in value):
        raise _Refused(400, f"habits must be a list of any of {', '.join(known)}")
    return frozenset(value)


def _order_limits(account: Account, wanted: Any) -> None:
    if account.provider == "apollo":
        account.apollo_limits.order(wanted)
    else:
        account.outreach_limits.order(wanted)


def _faults(state: State, method: str, rest: list[str], body: bytes) -> tuple[int, Any]:
    match [method, *rest]:
        case ["GET"]:
            return 200, state.faults.describe()
        case ["POST"]:
            return 201, state.faults.order(_object(body)).describe()
        case ["DELETE"]:
            state.faults.clear()
            return 204, None
        case ["DELETE", fault_id]:
            if not state.faults.lift(fault_id):
                raise _Refused(404, f"there is no fault {fault_id}")
            return 204, None
    raise _Refused(405, f"faults have no {method}")


def _holder(state: State, provider: str, query: dict[str, str]) -> Account:
    default = APOLLO_ACCOUNT if provider == "apollo" else OUTREACH_ACCOUNT
    account = _account(state, query.get("account", default))
    if account.provider != provider:
        raise _Refused(400, f"{account.id} is not an account of {provider}")
    return account


def _records(account: Account, collection: str, rest: list[str]) -> Any:
    """Show what the provider holds: a whole collection or one record."""
    records: dict[str, Any]
    if account.provider == "apollo" and collection in _APOLLO_COLLECTIONS:
        records = getattr(account.apollo, _APOLLO_COLLECTIONS[collection])
    elif account.provider == "outreach" and collection in COLLECTIONS:
        resources = account.outreach.resources[COLLECTIONS[collection]]
        records = {str(number): asdict(resource) for number, resource in resources.items()}
    else:
        raise _Refused(404, f"{account.provider} has no {collection}")
    if not rest or rest == [""]:
        return list(records.values())
    record = records.get(rest[0]) if len(rest) == 1 else None
    if record is None:
        raise _Refused(404, f"{account.id} holds no {collection}/{'/'.join(rest)}")
    return record


def _account(state: State, account_id: str) -> Account:
    account = state.accounts.get(account_id)
    if account is None:
        raise _Refused(404, f"there is no account {account_id}")
    return account


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _Refused(400, "the body must be a JSON object")
    return value


def _refuse_unknown(order: dict[str, Any], members: set[str] | frozenset[str]) -> None:
    unknown = sorted(set(order) - members)
    if unknown:
        raise _Refused(400, f"{unknown[0]!r} is none of {', '.join(sorted(members))}")


def _seconds(order: dict[str, Any], name: str) -> float:
    value = order[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise _Refused(400, f"{name} must be seconds from 0")
    return float(value)


def _scopes(order: dict[str, Any]) -> frozenset[str]:
    value = order["scopes"]
    if not isinstance(value, list) or not all(isinstance(scope, str) for scope in value):
        raise _Refused(400, "scopes must be a list of texts")
    return frozenset(value)
