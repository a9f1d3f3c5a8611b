"""Which addresses only this machine reaches."""

import pytest

from service.api.address import is_loopback


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.com:1", False),
        (":1", False),
    ],
)
def test_loopback_addresses_are_known(address: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback(address) is loopback
