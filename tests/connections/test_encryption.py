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


# Sealed by the first version, under the key of the bytes 0 to 31.
STORED: list[tuple[Credentials, str]] = [
    (
        KEY,
        "4eb74ae07f3aed186c3930b635b1afe70bb566713293a974877198a4f43358e75dc20ea68a16a12469b6ce059640770d52ba4a3c",
    ),
    (
        GRANT,
        (
            "9566b710f47cd75c646af0581fa9abe083dbd13aabce0d4d84f0cde8b68d2f992b69314de5cf936c15c053b74c5479d0300846ddad644ce9"
            "5eb8a8e90e05d1abce54dee6fa5b18f18aee09ef342818d4f36004099d7ddd062a1a961c60ba12b825dca9fe813af8753e99a4f4dd2ed007"
            "7f19e880eec94d873c60a4330827cf60feeb358a8577063aa24eb83ff3899d82209afeea4f1fd4003fc9fbcbad8c02db33af568f197c9b3f"
            "c66720774ff365222b26dd649d62"
        ),
    ),
]


@pytest.mark.parametrize(("credentials", "stored"), STORED)
def test_what_an_earlier_version_stored_can_be_opened(credentials: Credentials, stored: str) -> None:
    keyring = Keyring.parse(base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("="))
    assert keyring.current == "5e0da20a405b39a9"
    assert keyring.open(Sealed("5e0da20a405b39a9", bytes.fromhex(stored)), CONNECTION) == credentials
    assert len(keyring.seal(credentials, CONNECTION).ciphertext) == len(bytes.fromhex(stored))


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


def test_a_wrong_key_is_named_by_its_number() -> None:
    with pytest.raises(KeyringError, match=r"^key 2 of"):
        Keyring.parse(f"{generate_key()},x,{generate_key()}")


def test_a_key_may_have_its_padding() -> None:
    key = generate_key()
    assert Keyring.parse(key + "=").current == Keyring.parse(key).current


def test_what_another_version_sealed_otherwise_cannot_be_read() -> None:
    keyring = Keyring.parse(generate_key())
    associated = b'["seqstep.connection.v1",1,"acme","outreach"]'
    assert keyring.open(keyring.seal_bytes(b'{"api_key":"k"}', associated), CONNECTION) == ApiKeyCredentials(
        Secret("k")
    )
    for content in (b"[]", b"{", b'{"api_key":7}'):
        with pytest.raises(CannotDecrypt, match="damaged"):
            keyring.open(keyring.seal_bytes(content, associated), CONNECTION)


def test_nothing_shows_a_key() -> None:
    key = generate_key()
    assert key not in repr(Keyring.parse(key))
    assert "marked" not in f"{KEY} {GRANT!r} {Keyring.parse(key).seal(GRANT, CONNECTION)}"
