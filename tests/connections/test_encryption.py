"""Credentials at rest."""

import base64

import pytest
from msgspec.structs import replace

from service.connections.encryption import CannotDecrypt, Keyring, KeyringError, Owner, Sealed, generate_key
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.step import Provider

OWNER = Owner(1, "acme", Provider("outreach"))
KEY = ApiKeyCredentials(Secret("marked-key"))
GRANT = OAuthCredentials(Secret("marked-a"), Secret("marked-r"), 1.5, "client", Secret("marked-s"), "https://x.example")


@pytest.mark.parametrize("credentials", [KEY, GRANT, replace(GRANT, refresh_token=None, expires_at=None)])
def test_what_is_sealed_can_be_opened(credentials: Credentials) -> None:
    keyring = Keyring.parse(generate_key())
    sealed = keyring.seal(credentials, OWNER)
    assert keyring.open(sealed, OWNER) == credentials
    assert b"marked" not in sealed.ciphertext


def test_no_two_ciphertexts_are_the_same() -> None:
    keyring = Keyring.parse(generate_key())
    assert len({keyring.seal(KEY, OWNER).ciphertext for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "other",
    [replace(OWNER, application_id=2), replace(OWNER, customer_id="b"), replace(OWNER, provider=Provider("apollo"))],
)
def test_a_row_that_was_copied_does_not_open(other: Owner) -> None:
    keyring = Keyring.parse(generate_key())
    with pytest.raises(CannotDecrypt, match="belong to another"):
        keyring.open(keyring.seal(KEY, OWNER), other)


def test_owners_cannot_be_confused_by_their_spelling() -> None:
    first, second = Owner(1, "1,apollo", Provider("apollo")), Owner(11, ",apollo", Provider("apollo"))
    assert first.associated_data() != second.associated_data()


def test_a_flipped_bit_is_noticed() -> None:
    keyring = Keyring.parse(generate_key())
    sealed = keyring.seal(KEY, OWNER)
    for index in range(len(sealed.ciphertext)):
        damaged = bytearray(sealed.ciphertext)
        damaged[index] ^= 1
        with pytest.raises(CannotDecrypt):
            keyring.open(Sealed(sealed.key_id, bytes(damaged)), OWNER)
    for length in range(len(sealed.ciphertext)):
        with pytest.raises(CannotDecrypt):
            keyring.open(Sealed(sealed.key_id, sealed.ciphertext[:length]), OWNER)


def test_the_first_key_seals_and_all_open() -> None:
    old, new = generate_key(), generate_key()
    sealed = Keyring.parse(old).seal(KEY, OWNER)
    both = Keyring.parse(f"{new}, {old}")
    assert both.open(sealed, OWNER) == KEY
    assert Keyring.parse(new).open(both.seal(KEY, OWNER), OWNER) == KEY
    with pytest.raises(CannotDecrypt, match="not in SEQSTEP_ENCRYPTION_KEYS"):
        Keyring.parse(new).open(sealed, OWNER)


@pytest.mark.parametrize("text", ["", " , ", "x", "é", generate_key()[:-1], base64.b64encode(bytes(16)).decode()])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(KeyringError, match="SEQSTEP_ENCRYPTION_KEYS") as failure:
        Keyring.parse(text)
    if len(text) > 3:
        assert text not in str(failure.value)


def test_nothing_shows_a_key() -> None:
    key = generate_key()
    assert key not in repr(Keyring.parse(key))
    assert "marked" not in f"{KEY} {GRANT!r} {Keyring.parse(key).seal(GRANT, OWNER)}"
