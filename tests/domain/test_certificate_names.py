"""Names of certificates as people write them, up to their longest."""

import pytest

from service.domain.certificate_names import InvalidName, parse_name

DNS = ".".join(["a" * 63] * 4)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Billing.Internal.", "billing.internal"),
        ("*.internal", "*.internal"),
        ("URI:spiffe://Prod/billing", "URI:spiffe://Prod/billing"),
        ("spiffe://prod/billing", "URI:spiffe://prod/billing"),
        ("email:Billing@Example.COM", "email:Billing@example.com"),
        ("billing@example.com", "email:billing@example.com"),
        ("IP:10.0.0.7", "IP:10.0.0.7"),
        ("10.0.0.7", "IP:10.0.0.7"),
        ("ip:2001:DB8::1", "IP:2001:db8::1"),
        ("Billing Service", "billing service"),
        (DNS, DNS),
        (f"{DNS}.", DNS),
        ("x " * 127 + "x", "x " * 127 + "x"),
        ("URI:a:" + "b" * 249, "URI:a:" + "b" * 249),
        ("email:a@" + "b" * 247, "email:a@" + "b" * 247),
    ],
)
def test_a_name_has_one_way_to_be_written(given: str, name: str) -> None:
    assert parse_name(given) == name


@pytest.mark.parametrize(
    "given",
    [
        *("", " x", "x ", "a\0b", "URI:", "URI:no", "email:x", "email:@x", "IP:x", "IP:10.0.0.256", "other:x"),
        DNS + "b",
        "x " * 127 + "xy",
        "URI:a:" + "b" * 250,
        "email:a@" + "b" * 248,
    ],
)
def test_what_is_no_name_is_refused(given: str) -> None:
    with pytest.raises(InvalidName):
        parse_name(given)
