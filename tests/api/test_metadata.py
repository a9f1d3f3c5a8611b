"""What callers may say in metadata."""

import pytest

from service.api.metadata import CallMetadata, ErrorMode, MetadataPairs, gather, is_retry, parse, request_id
from service.domain.errors import CallRefused, ErrorCode
from service.domain.step import Provider

GOOD = (("x-customer-id", "acme"), ("x-provider-name", "apollo"))


def read(*pairs: tuple[str, str]) -> CallMetadata:
    return parse(*gather(pairs))


def refused(*pairs: tuple[str, str]) -> dict[str, str]:
    with pytest.raises(CallRefused) as refusal:
        read(*pairs)
    assert refusal.value.problem.code is ErrorCode.BAD_REQUEST
    return {violation.field: violation.description for violation in refusal.value.violations}


def test_a_plain_call() -> None:
    assert read(*GOOD) == CallMetadata("acme", Provider("apollo"), ErrorMode.ENVELOPE)


@pytest.mark.parametrize("name", ["outreach", "OUTREACH", "  OutReach "])
def test_case_and_space_of_the_provider_do_not_matter(name: str) -> None:
    assert read(("x-customer-id", "acme"), ("x-provider-name", name)).provider == Provider("outreach")


def test_all_that_is_missing_is_named_at_once() -> None:
    assert set(refused()) == {"x-customer-id", "x-provider-name"}


@pytest.mark.parametrize("name", ["", "hubspot", "apollo,outreach", "apollo\n"])
def test_an_unknown_provider_is_refused(name: str) -> None:
    assert set(refused(("x-customer-id", "acme"), ("x-provider-name", name))) == {"x-provider-name"}


@pytest.mark.parametrize("name", ["hubspot", "apolo", "apollo,outreach", "Hub Spot"])
def test_the_value_that_is_no_provider_is_named(name: str) -> None:
    rule = refused(("x-customer-id", "acme"), ("x-provider-name", name))["x-provider-name"]
    assert rule == f"{name} is not known here; give one of apollo, outreach, salesloft."


def test_a_long_value_is_named_in_part() -> None:
    rule = refused(("x-customer-id", "acme"), ("x-provider-name", "x" * 101))["x-provider-name"]
    assert rule.startswith("x" * 100 + " is not known")


@pytest.mark.parametrize("pairs", [[], [("x-provider-name", "   ")]])
def test_a_provider_that_is_not_named_is_required(pairs: list[tuple[str, str]]) -> None:
    assert refused(("x-customer-id", "acme"), *pairs)["x-provider-name"].startswith("Required: ")


@pytest.mark.parametrize("value", ["", "   ", "é", "a\r\nb", "x" * 256, "\x00"])
def test_a_customer_id_that_cannot_be_one_is_refused(value: str) -> None:
    assert set(refused(("x-customer-id", value), GOOD[1])) == {"x-customer-id"}


def test_255_characters_are_not_too_many() -> None:
    assert read(("x-customer-id", "x" * 255), GOOD[1]).customer_id == "x" * 255


@pytest.mark.parametrize("key", ["x-customer-id", "x-provider-name", "x-api-key", "x-request-id", "x-error-mode"])
@pytest.mark.parametrize("values", [("status", "envelope"), ("envelope", "status")])
def test_a_key_given_twice_with_different_values_is_refused(key: str, values: tuple[str, str]) -> None:
    twice = [(key, value) for value in values]
    assert key in refused(*[pair for pair in GOOD if pair[0] != key], *twice)


def test_a_key_given_twice_with_the_same_value_is_fine() -> None:
    assert read(*GOOD, *GOOD).customer_id == "acme"


def test_an_unknown_error_mode_is_refused() -> None:
    assert set(refused(*GOOD, ("x-error-mode", "loud"))) == {"x-error-mode"}


def test_a_request_id_is_kept_or_made() -> None:
    assert request_id({"x-request-id": "mine"}) == "mine"
    assert request_id({}) != request_id({})


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ((), False),
        ((("grpc-previous-rpc-attempts", "0"), ("x-envoy-attempt-count", "1")), False),
        ((("accept", "7"), ("grpc-timeout", "7"), ("host", "7"), ("x-zone", "7")), False),
        ((("x-envoy-attempt-count", b"1"),), False),
        ((("grpc-previous-rpc-attempts", "1"),), True),
        ((("grpc-previous-rpc-attempts", b"4"), ("x-envoy-attempt-count", "1")), True),
        ((("x-envoy-attempt-count", "2"),), True),
        ((("x-envoy-attempt-count", b"3"), ("grpc-previous-rpc-attempts", "0")), True),
        ((("x-envoy-attempt-count", "many"),), True),
        ((("x-envoy-attempt-count", "1"), ("x-envoy-attempt-count", "2")), True),
    ],
)
def test_an_earlier_attempt_is_known_by_grpc_or_envoy(pairs: MetadataPairs, expected: bool) -> None:  # noqa: FBT001
    assert is_retry((*GOOD, *pairs)) is expected


def test_other_keys_are_left_alone() -> None:
    assert read(("accept", "x"), *GOOD, ("user-agent", "grpc-python/1.0"), ("trace-bin", "\x00")).customer_id == "acme"
