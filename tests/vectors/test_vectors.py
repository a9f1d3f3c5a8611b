"""The vectors are well-formed and cover the contract, and the Python clients pass all of them."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from engagement.v1 import connection_service_pb2, sequence_step_service_pb2
from google.protobuf import json_format, message_factory

from service.domain.errors import CODES, ErrorCode
from service.domain.step import WARNINGS, WarningType
from tests.support.processes import ROOT, server_process
from tests.vectors.environment import CUSTOMERS, FOLDER, running_environment, topics, vectors_of
from tests.vectors.judge import calls_of, run_vectors

VECTORS = vectors_of()
CALLS = [(vector["name"], call) for vector in VECTORS for call in calls_of(vector)]
SERVICES = (connection_service_pb2.DESCRIPTOR.services_by_name, sequence_step_service_pb2.DESCRIPTOR.services_by_name)
METHODS = {method.name: method for file in SERVICES for service in file.values() for method in service.methods}


def expected(kind: str) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """The errors or warnings that vectors expect of calls on steps, each with its vector and its call."""
    for name, call in CALLS:
        if "Connection" not in call.get("method", ""):
            for each in call["expect"]["response"].get(kind, ()):
                yield name, call, each


@pytest.mark.parametrize("name", topics())
def test_the_format(name: str) -> None:
    schema = json.loads((FOLDER / "format" / "vectors.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(topics()[name])


def test_every_request_is_one_of_its_method() -> None:
    wrong = {}
    for name, call in CALLS:
        kind = message_factory.GetMessageClass(METHODS[call.get("method", "UpdateStep")].input_type)
        try:
            json_format.ParseDict(call["request"], kind())
        except json_format.ParseError as error:
            wrong[name] = error
    assert wrong == {}


def test_every_method_is_covered_and_every_update_has_an_outcome() -> None:
    assert {call.get("method", "UpdateStep") for _, call in CALLS} == set(METHODS)
    writes = {"UpdateStep", "RevertStepChange"}
    assert [
        n for n, call in CALLS if ("outcome" in call["expect"]) != (call.get("method", "UpdateStep") in writes)
    ] == []


def test_names_are_unique_and_there_are_enough() -> None:
    names = [vector["name"] for vector in VECTORS]
    assert len(set(names)) == len(names) >= 60


def test_every_code_is_covered_in_both_modes() -> None:
    in_envelope: set[str] = set()
    as_status: set[str] = set()
    for name, call, error in expected("errors"):
        spec = CODES[ErrorCode(error["code"])]
        assert (error["problem_type"], error["status"]) == (error["code"], str(spec.http_status)), name
        status = call["expect"]["status"]
        of_the_customer = error["meta"].get("origin") == "ERROR_ORIGIN_REMOTE_PROVIDER" and spec.http_status == 401
        as_a_status = "FAILED_PRECONDITION" if of_the_customer else spec.grpc_status
        assert status in {"OK", as_a_status}, name
        (in_envelope if status == "OK" else as_status).add(error["code"])
    # gRPC has no methods in this sense, and what is wrong with a request is never put into an OK envelope.
    over_grpc = {code.value for code in ErrorCode} - {"METHOD_NOT_ALLOWED_ERROR"}
    assert in_envelope == over_grpc - {"VALIDATION_ERROR"}
    assert as_status == over_grpc


def test_every_warning_and_outcome_is_covered() -> None:
    assert {each["problem_type"] for _, _, each in expected("warnings")} == {warning.value for warning in WarningType}
    assert len(WARNINGS) == len(WarningType)
    assert {each["meta"]["outcome"] for _, _, each in expected("errors")} == {
        f"ERROR_OUTCOME_{name}" for name in ("NOT_APPLIED", "UNKNOWN", "PARTIALLY_APPLIED")
    }


def test_what_the_service_remembers_stays_with_one_vector() -> None:
    limited = [
        call["metadata"][0][1] for _, call, each in expected("errors") if each["code"] == "TOO_MANY_REQUESTS_ERROR"
    ]
    assert len(set(limited)) == len(limited)
    used = {value for _, call in CALLS for key, value in call["metadata"] if key == "x-customer-id"}
    assert {each["customer_id"] for each in json.loads(CUSTOMERS.read_text())["customers"]} <= used


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["sync", "aio"])
async def test_the_python_clients_pass(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    async with (
        running_environment(tmp_path) as environment,
        server_process(tmp_path, dict(environment.settings)) as service,
    ):
        key = await environment.application(f"python-{variant}")
        runner: list[str | Path] = [ROOT / "clients" / "python" / "run-vectors.sh", variant]
        given = environment.given(TARGET=service.address, API_KEY=key)
        results = [result async for result in run_vectors(runner, VECTORS, given)]
    assert [result for result in results if result.why] == []
    assert [result.name for result in results] == [vector["name"] for vector in VECTORS]
