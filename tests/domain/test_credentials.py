"""Secrets do not show themselves, and are what was copied without what came along with it."""

import copy
import pickle

import pytest

from service.domain.credentials import (
    ApiKeyCredentials,
    Connection,
    InvalidSecret,
    OAuthCredentials,
    Secret,
    header_secret_from,
    secret_from,
)
from service.domain.step import Provider


def test_a_secret_shows_itself_on_request_only() -> None:
    secret = Secret("m4rk3d")
    assert secret.reveal() == "m4rk3d"
    for shown in (str(secret), repr(secret), f"{secret}", repr(ApiKeyCredentials(secret))):
        assert "m4rk3d" not in shown
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)


def test_secrets_are_equal_by_what_they_are() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("b") != Secret("a")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.mark.parametrize("around", ["", " ", "\t", "\n", "\r\n", "\x00", "\x1f", "\x7f", "\ufeff", "\u200b", "\xa0"])
def test_what_came_along_with_a_copy_is_no_part_of_a_secret(around: str) -> None:
    assert secret_from(f"{around}!key{around}") == Secret("!key")


@pytest.mark.parametrize("text", ["", " \n", "a\nb", "a\u200bb", "a\x00b"])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(InvalidSecret):
        secret_from(text)


def test_a_secret_in_a_header_is_ascii() -> None:
    assert secret_from("é") == Secret("é")
    assert header_secret_from(" e~ ") == Secret("e~")
    with pytest.raises(InvalidSecret):
        header_secret_from("é")


def test_what_is_remembered_of_credentials_goes_with_them() -> None:
    def connection(id: int, key: str) -> Connection:
        return Connection(id, 1, "acme", Provider("apollo"), ApiKeyCredentials(Secret(key)))

    token = OAuthCredentials(Secret("key"), Secret("refresh"), None, "id", Secret("secret"))
    assert connection(1, "key").credentials_id == connection(1, "key").credentials_id
    assert connection(1, "key").credentials_id != connection(2, "key").credentials_id
    assert connection(1, "key").credentials_id != connection(1, "other").credentials_id
    assert Connection(1, 1, "acme", Provider("outreach"), token).token == Secret("key")
