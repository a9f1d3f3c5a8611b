"""Credentials at rest."""

import base64

import pytest
from msgspec.structs import replace

from service.connections.encryption import CannotDecrypt, Keyring, KeyringError, Sealed, generate_key
from service.domain.credentials import ApiKeyCredentials, ConnectionKey, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider

CONNECTION = ConnectionKey(1, "acme", Provider("outreach"))
KEY = ApiKeyCredentials(Secret("marked-key"))
GRANT = OAuthCredentials(Secret("marked-a"), Secret("marked-r"), 1.5, "client", Secret("marked-s"), "https://x.example")


@pytest.mark.parametrize("credentials", [KEY, GRANT, replace(GRANT, refresh_token=None, expires_at=None)])
def test_what_is_sealed_can_be_opened(credentials: Credentials) -> None:
    keyring = Keyring.parse(generate_key())
    sealed = keyring.seal(credentials, CONNECTION)
    assert keyring.open(sealed, CONNECTION) == credentials
    assert b"marked" not in sealed.ciphertext


def test_no_two_ciphertexts_are_the_same() -> None:
    keyring = Keyring.parse(generate_key())
    assert len({keyring.seal(KEY, CONNECTION).ciphertext for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "other",
    [
        replace(CONNECTION, application_id=2),
        replace(CONNECTION, customer_id="b"),
        replace(CONNECTION, provider=Provider("apollo")),
    ],
)
def test_a_row_that_was_copied_does_not_open(other: ConnectionKey) -> None:
    keyring = Keyring.parse(generate_key())
    with pytest.raises(CannotDecrypt, match="belongs elsewhere"):
        keyring.open(keyring.seal(KEY, CONNECTION), other)


def test_keys_that_read_alike_are_not_confused() -> None:
    keyring = Keyring.parse(generate_key())
    first = ConnectionKey(1, "1,apollo", Provider("apollo"))
    with pytest.raises(CannotDecrypt):
        keyring.open(keyring.seal(KEY, first), ConnectionKey(11, ",apollo", Provider("apollo")))


def test_a_flipped_bit_is_noticed() -> None:
    keyring = Keyring.parse(generate_key())
    sealed = keyring.seal(KEY, CONNECTION)
    for index in range(len(sealed.ciphertext)):
        damaged = bytearray(sealed.ciphertext)
        damaged[index] ^= 1
        with pytest.raises(CannotDecrypt):
            keyring.open(Sealed(sealed.key_id, bytes(damaged)), CONNECTION)
    for length in range(len(sealed.ciphertext)):
        with pytest.raises(CannotDecrypt):
            keyring.open(Sealed(sealed.key_id, sealed.ciphertext[:length]), CONNECTION)


def test_the_first_key_seals_and_all_open() -> None:
    old, new = generate_key(), generate_key()
    sealed = Keyring.parse(old).seal(KEY, CONNECTION)
    both = Keyring.parse(f"{new}, {old}")
    assert both.open(sealed, CONNECTION) == KEY
    assert Keyring.parse(new).open(both.seal(KEY, CONNECTION), CONNECTION) == KEY
    with pytest.raises(CannotDecrypt, match="not in SEQSTEP_ENCRYPTION_KEYS"):
        Keyring.parse(new).open(sealed, CONNECTION)


@pytest.mark.parametrize("text", ["", " , ", "x", "é", "A" * 42, base64.b64encode(bytes(16)).decode()])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(KeyringError, match="SEQSTEP_ENCRYPTION_KEYS") as failure:
        Keyring.parse(text)
    if len(text) > 3:
        assert text not in str(failure.value)


def test_nothing_shows_a_key() -> None:
    key = generate_key()
    assert key not in repr(Keyring.parse(key))
    assert "marked" not in f"{KEY} {GRANT!r} {Keyring.parse(key).seal(GRANT, CONNECTION)}"
