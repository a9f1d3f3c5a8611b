"""The token endpoints: the ``refresh_token`` grant with rotation (RFC 6749, section 6)."""

import math
import time
from typing import Any
from urllib.parse import parse_qsl

from sandbox.accounts import Account
from sandbox.limits import write_moment
from sandbox.messages import Answer, Call, InvalidBody, json_answer, media_type
from sandbox.state import State

_FIELDS = ("grant_type", "refresh_token", "client_id", "client_secret")
_NO_STORE = [("Cache-Control", "no-store"), ("Pragma", "no-cache")]


def owner(state: State, call: Call) -> Account | None:
    """Return the account whose refresh token a call to a token endpoint carries."""
    try:
        token = state.refresh_tokens.get(_form(call).get("refresh_token", ""))
    except InvalidBody:
        return None
    if token is None or token.account.provider != call.provider:
        return None
    return token.account


def handle(state: State, call: Call) -> Answer:
    """Exchange a refresh token for new tokens; the old refresh token is dead from then on.

    Outreach mints one token a user every 60 seconds and answers 429 in between; the refresh
    token stays good then. Source: Outreach's OAuth documentation.
    """
    if call.method != "POST":
        return _refuse(405, "invalid_request", "Use POST.")
    if call.query:
        return _refuse(400, "invalid_request", "Send parameters in the body, not in the URL.")
    try:
        form = _form(call)
    except InvalidBody as error:
        return _refuse(400, "invalid_request", str(error))
    needed = (*_FIELDS, "redirect_uri") if call.provider == "outreach" else _FIELDS
    missing = [name for name in needed if not form.get(name)]
    if missing:
        return _refuse(400, "invalid_request", f"Missing required parameter: {missing[0]}.")
    if form["grant_type"] != "refresh_token":
        return _refuse(
            400,
            "unsupported_grant_type",
            "The authorization grant type is not supported by the authorization server.",
        )
    clients = {
        (account.client_id, account.client_secret)
        for account in state.accounts.values()
        if account.provider == call.provider and account.client_id
    }
    if (form["client_id"], form["client_secret"]) not in clients:
        return _refuse(401, "invalid_client", "Client authentication failed.")
    token = state.refresh_tokens.get(form["refresh_token"])
    if (
        token is None
        or token.dead
        or token.expires_at <= time.time()
        or token.account.provider != call.provider
        or token.account.client_id != form["client_id"]
        or form.get("redirect_uri", token.account.redirect_uri) != token.account.redirect_uri
    ):
        return _refuse(
            400,
            "invalid_grant",
            "The provided authorization grant is invalid, expired, revoked, does not match the "
            "redirection URI used in the authorization request, or was issued to another client.",
        )
    account = token.account
    if account.last_mint is not None:
        wait = account.last_mint + account.mint_interval - time.monotonic()
        if wait > 0:
            return _too_soon(account, wait)
    access, refresh = state.mint(token)
    answer: dict[str, Any] = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": math.floor(account.token_lifetime),
        "refresh_token": refresh,
        "scope": " ".join(sorted(account.scopes or ())),
        "created_at": int(time.time()),
    }
    return json_answer(200, answer, _NO_STORE)


def _too_soon(account: Account, wait: float) -> Answer:
    error = {
        "id": "rateLimitExceeded",
        "title": "Rate Limit Exceeded",
        "detail": "An access token for this user was issued less than a minute ago.",
    }
    moment = write_moment(wait, account.outreach_limits.reset_format)
    headers = [("Retry-After", moment), ("X-RateLimit-Reset", moment)]
    return json_answer(429, {"errors": [error]}, headers)


def _refuse(status: int, error: str, description: str) -> Answer:
    body = {"error": error, "error_description": description}
    return json_answer(status, body, _NO_STORE)


def _form(call: Call) -> dict[str, str]:
    """Read the parameters from a form or a JSON object.

    Raises:
        InvalidBody: The body is neither.
    """
    kind, _ = media_type(call.headers.get("Content-Type", ""))
    if kind == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(call.body.decode(), keep_blank_values=True))
        except UnicodeDecodeError as error:
            raise InvalidBody("The form is not UTF-8.") from error
    if kind != "application/json":
        raise InvalidBody("Send a form or a JSON object.")
    value = call.json()
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise InvalidBody("Send an object of strings.")
    return value
