"""The client says the same as the service, of which it has no code."""

from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

import seqstep_client
from seqstep_client import contract, messages, values
from service.api import contract as service_contract
from service.api.address import is_loopback
from service.api.value import fill_value, to_json, unrepresentable
from service.domain import errors

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, -(2**53), 2**53 - 1, 2.0**53, 2.0**64, 2.0**65])
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=2)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=70), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3) | st.integers(), JSON, max_size=3))
def test_custom_fields_are_sent_or_refused_as_the_service_would(fields: dict[Any, Any]) -> None:
    refused = unrepresentable(fields, "custom_fields", limit=1)
    sent, expected = struct_pb2.Struct(), struct_pb2.Value()
    if refused:
        [(path, rule)] = refused
        with pytest.raises(values.InvalidArgument) as raised:
            values.fill_fields(sent, fields, "custom_fields")
        assert str(raised.value).startswith(path[:200])
        assert str(raised.value).endswith(f": {rule}")
        return
    values.fill_fields(sent, fields, "custom_fields")
    fill_value(expected, fields)
    assert sent == expected.struct_value
    assert values.to_json(expected) == to_json(expected)


def test_words_and_numbers_are_those_of_the_service() -> None:
    assert [*contract.Outcome] == [contract.Outcome.APPLIED, *errors.Outcome]
    assert [*contract.Origin] == [*errors.Origin]
    assert {number: word.value for number, word in contract.OUTCOMES.items()} == {
        number: word.value for word, number in service_contract.OUTCOMES.items()
    }
    assert {number: word.value for number, word in contract.ORIGINS.items()} == {
        number: word.value for word, number in service_contract.ORIGINS.items()
    }
    assert {
        code: errors.CODES[errors.ErrorCode(code)].http_status for code in messages.HTTP_STATUSES
    } == messages.HTTP_STATUSES


@pytest.mark.parametrize(
    "address", ["localhost:1", "127.0.0.9:1", "[::1]:1", "unix:/a", "unix-abstract:a", "10.0.0.1:1", "host:1", "[::]:1"]
)
def test_a_machine_knows_itself_as_the_service_does(address: str) -> None:
    options = dict(seqstep_client.channel.channel_options(address))
    assert ("grpc.enable_http_proxy" in options) == is_loopback(address)
