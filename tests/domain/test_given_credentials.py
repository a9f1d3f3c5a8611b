"""Credentials as people and programs give them: what is stored of them, and what is refused with which name."""

from typing import Any

import msgspec
import pytest

from service.domain.credentials import ApiKeyCredentials, OAuthCredentials, Secret
from service.domain.given_credentials import GivenCredentials, InvalidCredentials, credentials_of
from service.domain.step import Provider

NOW = 1_000_000.0
BOTH = (ApiKeyCredentials, OAuthCredentials)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.domain.given_credentials.time.time", lambda: NOW)


def grant(**members: Any) -> OAuthCredentials:
    """A grant as it is stored."""
    return OAuthCredentials(
        **({"refresh_token": None, "expires_at": None, "client_id": "", "client_secret": Secret("")} | members)
    )


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"api_key": " k\n"}, ApiKeyCredentials(Secret("k"))),
        # An API key is all there is then.
        ({"api_key": "k", "access_token": "t"}, ApiKeyCredentials(Secret("k"))),
        ({"access_token": "t"}, grant(access_token=Secret("t"))),
        (
            {
                "access_token": " t ",
                "refresh_token": "r ",
                "client_id": " c",
                "client_secret": " s",
                "redirect_uri": " u ",
            },
            grant(
                access_token=Secret("t"),
                refresh_token=Secret("r"),
                client_id="c",
                client_secret=Secret("s"),
                redirect_uri="u",
            ),
        ),
        ({"access_token": "t", "refresh_token": ""}, grant(access_token=Secret("t"))),
        ({"access_token": "t", "scope": " a  b "}, grant(access_token=Secret("t"), scope="a b")),
        # When it was issued is known only where it ends so many seconds from then.
        ({"access_token": "t", "expires_at": 5.0}, grant(access_token=Secret("t"), expires_at=5.0)),
        (
            {"access_token": "t", "expires_in": 60.0},
            grant(access_token=Secret("t"), expires_at=NOW + 60, issued_at=NOW),
        ),
        (
            {"access_token": "t", "expires_in": 60.0, "expires_at": 5.0},
            grant(access_token=Secret("t"), expires_at=5.0, issued_at=NOW),
        ),
        ({"access_token": "t", "expires_in": 0.0}, grant(access_token=Secret("t"), expires_at=NOW, issued_at=NOW)),
        ({"access_token": "t", "expires_at": 0.0}, grant(access_token=Secret("t"), expires_at=0.0)),
        (
            {"access_token": "t", "expires_at": 253_402_300_799.0},
            grant(access_token=Secret("t"), expires_at=253_402_300_799.0),
        ),
    ],
)
def test_what_is_stored(given: dict[str, Any], stored: ApiKeyCredentials | OAuthCredentials) -> None:
    assert credentials_of(Provider("apollo"), BOTH, GivenCredentials(**given)) == stored


@pytest.mark.parametrize(
    ("given", "member"),
    [
        ({}, ""),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "é"}, "api_key"),
        ({"access_token": ""}, ""),
        ({"access_token": "a\nb"}, "access_token"),
        ({"access_token": "t", "refresh_token": "a\nb"}, "refresh_token"),
        ({"access_token": "t", "refresh_token": "r"}, "refresh_token"),
        ({"access_token": "t", "refresh_token": "r", "client_id": "c"}, "refresh_token"),
        ({"access_token": "t", "refresh_token": "r", "client_secret": "s"}, "refresh_token"),
        ({"access_token": "t", "client_secret": "a\nb"}, "client_secret"),
        ({"access_token": "t", "scope": "é"}, "scope"),
        # Milliseconds, as other programs count, are not seconds; and what no timestamp shows would fail each list.
        ({"access_token": "t", "expires_at": 1_764_367_200_000.0}, "expires_at"),
        ({"access_token": "t", "expires_at": 253_402_300_799.5}, "expires_at"),
        ({"access_token": "t", "expires_at": -0.5}, "expires_at"),
        ({"access_token": "t", "expires_in": 1e12}, "expires_at"),
    ],
)
def test_what_is_refused(given: dict[str, Any], member: str) -> None:
    with pytest.raises(InvalidCredentials) as refusal:
        credentials_of(Provider("apollo"), BOTH, GivenCredentials(**given))
    assert refusal.value.member == member


def test_a_provider_without_api_keys_takes_none() -> None:
    with pytest.raises(InvalidCredentials, match="Outreach has no API keys") as refusal:
        credentials_of(Provider("outreach"), (OAuthCredentials,), GivenCredentials(api_key="k"))
    assert refusal.value.member == "api_key"


def test_a_member_that_is_not_known_is_refused() -> None:
    """A refresh token with a typo in its name would be missed when the access token ends."""
    with pytest.raises(msgspec.ValidationError, match="refresh_tokem"):
        msgspec.json.decode(b'{"access_token": "t", "refresh_tokem": "r"}', type=GivenCredentials)


def test_no_secret_is_shown() -> None:
    assert "m4rk3d" not in repr(GivenCredentials(api_key="m4rk3d", client_secret="m4rk3d"))


@pytest.mark.parametrize(("length", "is_taken"), [(2048, True), (2049, False)])
def test_a_scope_has_2048_characters(length: int, *, is_taken: bool) -> None:
    given = GivenCredentials(access_token="t", scope="s" * length)
    if is_taken:
        assert credentials_of(Provider("apollo"), BOTH, given) == grant(access_token=Secret("t"), scope="s" * length)
        return
    with pytest.raises(InvalidCredentials, match="longer than 2048 characters"):
        credentials_of(Provider("apollo"), BOTH, given)
