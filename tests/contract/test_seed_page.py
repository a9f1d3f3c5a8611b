"""Everything that the REST page names has its place in the contract."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from engagement.v1 import envelope_pb2, sequence_step_service_pb2
from google.protobuf import json_format

EXAMPLE = Path(__file__).with_name("seed_example.json")

# The page's names for who found fault; protobuf's JSON wants those of the enum.
ORIGINS = {"remote-provider": "ERROR_ORIGIN_REMOTE_PROVIDER", "supaglue": "ERROR_ORIGIN_SERVICE"}


@pytest.fixture
def example() -> Any:
    return json.loads(EXAMPLE.read_text())


def parsed(example: Any) -> tuple[Any, envelope_pb2.Error]:
    # The page nests its example one level deeper than its own schema does.
    [[original]] = example["errors"]
    return original, json_format.ParseDict(original, envelope_pb2.Error())


def test_the_example_error_comes_back_whole(example: Any) -> None:
    original, error = parsed(example)
    back = json_format.MessageToDict(error, preserving_proto_field_name=True)
    assert back == original


def test_the_example_error_keeps_its_types(example: Any) -> None:
    _, error = parsed(example)
    assert error.status == "400"
    assert error.meta.cause.code == 400
    assert error.meta.cause.body.struct_value.fields["category"].string_value == "VALIDATION_ERROR"
    assert error.meta.cause.headers["cf-ray"] == "8053d17b9dae9664-SJC"
    assert error.title.endswith("\n")


@pytest.mark.parametrize(("theirs", "ours"), ORIGINS.items())
def test_an_origin_of_the_page_has_its_value(example: Any, theirs: str, ours: str) -> None:
    [[original]] = example["errors"]
    original["meta"] |= {"origin": ORIGINS[theirs], "application_name": "billing"}
    error = json_format.ParseDict(original, envelope_pb2.Error())
    assert envelope_pb2.ErrorOrigin.Name(error.meta.origin) == ours
    assert error.meta.application_name == "billing"


def test_the_example_warning_comes_back_whole(example: Any) -> None:
    [original] = example["warnings"]
    warning = json_format.ParseDict(original, envelope_pb2.Warning())
    assert json_format.MessageToDict(warning, preserving_proto_field_name=True) == original


def test_the_request_of_the_page_fits() -> None:
    body = {"record": {"template": {"body": "<p>Hi</p>", "subject": "Hi"}, "custom_fields": {"note": "call first"}}}
    request = json_format.ParseDict(
        {"sequence_id": "54", "sequence_step_id": "7", **body}, sequence_step_service_pb2.UpdateStepRequest()
    )
    assert json_format.MessageToDict(request, preserving_proto_field_name=True)["record"] == body["record"]


def test_presence_tells_an_empty_string_from_an_absent_one() -> None:
    template = json_format.ParseDict({"body": ""}, sequence_step_service_pb2.StepTemplate())
    assert template.HasField("body")
    assert not template.HasField("subject")


def test_every_field_of_the_contract_is_documented() -> None:
    files = list((Path(__file__).parents[2] / "protos" / "engagement" / "v1").glob("*.proto"))
    assert files
    for path in files:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s+[\w.<>, ]+ \w+ = \d+", line) and "option" not in line:
                assert lines[number - 1].lstrip().startswith("//"), f"{path}:{number + 1}"
