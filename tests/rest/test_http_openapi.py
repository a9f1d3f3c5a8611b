"""The OpenAPI document that is served: valid, and what the server does."""

import asyncio
import json
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sandbox import seed
from service.domain.errors import CODES, Cause, ErrorCode, Origin, Outcome, Problem
from service.domain.step import FieldChange, StepWarning, WarningType
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from service.rest.app import CHANGE_PATH, CHANGES_PATH, PATH, REVERT_PATH, SEQUENCE_PATH
from tests.support.deployment import prepared_deployment
from tests.support.http_server import EMPTY, GOOD, RunningHttpServer
from tests.support.processes import free_port, server_process
from tests.support.service import outreach_grant

# Checks that ask for more than the server is to do, and why:
LEFT_OUT = {
    # Ids that are well formed lead nowhere at the provider, so that good requests fail too.
    "positive_data_acceptance": "404 for steps that do not exist",
}

EXCHANGES = {
    path.stem: json.loads(path.read_bytes()) for path in sorted(Path(__file__).with_name("exchanges").glob("*.json"))
}

# Steps that are there, so that updates succeed as well, and for Outreach those that schemathesis makes up.
PARAMETERS = {
    Apollo.provider: f"""[parameters]
"path.sequence_id" = "{seed.APOLLO_SEQUENCE_INACTIVE}"
"path.sequence_step_id" = "{seed.APOLLO_STEP_INACTIVE_PLAIN}"
""",
    Outreach.provider: "",
}


async def schemathesis(address: str, key: str, provider: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"http://{address}/openapi.json"),
        *("-H", f"x-api-key: {key}", "-H", "x-customer-id: acme", "-H", f"x-provider-name: {provider}"),
        *("--checks", "all", "--exclude-checks", ",".join(LEFT_OUT)),
        *("--max-examples", "40", "--seed", "7", "--phases", "examples,coverage,fuzzing"),
        *("--generation-database", "none", "--no-color", "--warnings", "off"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@pytest.mark.slow
async def test_schemathesis_finds_no_difference(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    environment = {"SEQSTEP_HTTP_ADDRESS": address, "SEQSTEP_HISTORY_DAYS": "30"}
    async with prepared_deployment(f"sqlite:///{tmp_path}/store.sqlite3", **environment) as deployment:
        await deployment.connections().set(deployment.application_id, "acme", Outreach.provider, outreach_grant())
        async with server_process(tmp_path, deployment.environment) as server:
            for provider, parameters in PARAMETERS.items():
                folder = tmp_path / provider
                folder.mkdir()
                (folder / "schemathesis.toml").write_text(parameters)
                print(await schemathesis(address, deployment.api_key, provider, folder))  # noqa: T201
            lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    statuses = Counter(line["http_status"] for line in lines if "http_status" in line)
    print(dict(statuses))  # noqa: T201
    assert {200, 400, 401, 404} <= set(statuses)
    assert not {500, 502} & set(statuses)


async def document(server: RunningHttpServer) -> Any:
    response = await server.client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    return response.json()


def validator(described: Any, name: str) -> jsonschema.Draft202012Validator:
    """Checks a value against a schema of the document; members that the document does not name are refused."""
    schemas = json.loads(json.dumps(described["components"]["schemas"]))
    for schema in schemas.values():
        if schema.get("properties"):
            schema["additionalProperties"] = False
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


async def test_the_document_has_each_path_once_and_all_codes(server: RunningHttpServer) -> None:
    described = await document(server)
    assert described["openapi"].startswith("3.1.")
    assert set(described["paths"]) == {
        *(PATH, SEQUENCE_PATH, CHANGES_PATH, CHANGE_PATH, REVERT_PATH),
        *("/healthz", "/readyz", "/metrics"),
    }
    assert {path: list(operations) for path, operations in described["paths"].items()} == {
        PATH: ["patch", "get"],
        SEQUENCE_PATH: ["get"],
        CHANGES_PATH: ["get"],
        CHANGE_PATH: ["get"],
        REVERT_PATH: ["post"],
        **{path: ["get"] for path in ("/healthz", "/readyz", "/metrics")},
    }
    assert set(described["paths"]["/readyz"]["get"]["responses"]) == {"200", "503"}
    operation = described["paths"][PATH]["patch"]
    assert (operation["operationId"], operation["tags"]) == ("updateSequenceStep", ["sequence steps"])
    headers = operation["responses"]["200"]["headers"]
    assert {name: (each.get("required", False), each["schema"]) for name, each in headers.items()} == {
        "x-request-id": (True, {"type": "string"}),
        "retry-after": (False, {"type": "integer", "minimum": 0}),
    }
    members = {name: each["properties"] for name, each in described["components"]["schemas"].items()}
    assert members["ErrorMeta"]["retry_after"]["minimum"] == 0
    assert members["Error"]["problem_type"]["deprecated"] is True
    assert "STEP_CHANGE_STATE_APPLIED" in members["StepChange"]["state"]["examples"]
    assert "STEP_CHANGE_STATE_UNSPECIFIED" not in members["StepChange"]["state"]["examples"]
    statuses = {str(spec.http_status) for spec in CODES.values()} - {"405"}
    assert set(operation["responses"]) == {"200", *statuses}
    assert operation["security"] == [{"api_key": []}]
    scheme = described["components"]["securitySchemes"]["api_key"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "x-api-key")
    assert set(described["components"]["schemas"]) == {
        *("UpdateSequenceStep", "Record", "Template", "ServerStatus"),
        *("Envelope", "Error", "ErrorMeta", "ErrorCause", "Warning", "FieldChange"),
        *("StepChange", "StepChanges", "SequenceSteps", "Step", "StepVariant", "StepTemplate"),
    }


@pytest.mark.parametrize(
    ("path", "operation_id", "model", "query"),
    [
        (PATH, "getSequenceStep", "Step", ["view", "with_sharing"]),
        (SEQUENCE_PATH, "getSequence", "SequenceSteps", ["view"]),
    ],
)
async def test_the_document_has_the_reads(
    server: RunningHttpServer, path: str, operation_id: str, model: str, query: list[str]
) -> None:
    operation = (await document(server))["paths"][path]["get"]
    assert operation["operationId"] == operation_id
    assert "requestBody" not in operation
    assert [each["name"] for each in operation["parameters"] if each["in"] == "query"] == query
    good = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert good["$ref"].endswith(f"/{model}")
    assert operation["responses"]["404"]["content"]["application/json"]["schema"]["$ref"].endswith("/Envelope")


async def test_the_document_names_the_parameters(server: RunningHttpServer) -> None:
    operation = (await document(server))["paths"][PATH]["patch"]
    given = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert {name: (each["in"], each["required"]) for name, each in given.items()} == {
        "sequence_id": ("path", True),
        "sequence_step_id": ("path", True),
        "x-customer-id": ("header", True),
        "x-provider-name": ("header", True),
        "x-request-id": ("header", False),
        "validate_only": ("query", False),
        "etag": ("query", False),
        "if_shared": ("query", False),
        "variant": ("query", False),
    }
    assert given["x-provider-name"]["schema"]["enum"] == ["apollo", "outreach", "salesloft"]
    for name in ("sequence_id", "sequence_step_id", "x-customer-id", "x-request-id"):
        schema = given[name]["schema"]
        assert (schema["minLength"], schema["maxLength"]) == (1, 255), name
    assert all(parameter["description"] for parameter in given.values())
    assert operation["requestBody"]["required"]


async def test_the_document_bounds_the_parameters_of_a_list(server: RunningHttpServer) -> None:
    operation = (await document(server))["paths"][CHANGES_PATH]["get"]
    given = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    size = given["page_size"]
    assert (size["minimum"], size["maximum"], size["default"]) == (0, 999_999_999, 0)
    for name in ("sequence_id", "sequence_step_id"):
        assert (given[name]["minLength"], given[name]["maxLength"]) == (0, 255)


async def test_every_documented_operation_is_served(server: RunningHttpServer) -> None:
    for path, operations in (await document(server))["paths"].items():
        for method in operations:
            url = path.format(sequence_id=1, sequence_step_id=2, change_id=uuid.uuid4())
            response = await server.client.request(method, url, headers=GOOD, json=EMPTY if method == "patch" else None)
            # What serves these keeps no history.
            assert response.status_code == (501 if path.startswith(CHANGES_PATH) else 200), path


async def test_the_examples_are_of_the_documented_shape(server: RunningHttpServer) -> None:
    described = await document(server)
    operation = described["paths"][PATH]["patch"]
    request = described["components"]["schemas"]["UpdateSequenceStep"]["examples"]
    for example in request:
        validator(described, "UpdateSequenceStep").validate(example)
        assert (await server.patch(example)).status_code == 200
    assert request
    check = validator(described, "Envelope")
    for status, response in operation["responses"].items():
        examples = response["content"]["application/json"]["examples"]
        assert examples, status
        for example in examples.values():
            check.validate(example["value"])
            assert {error["status"] for error in example["value"]["errors"]} <= {status}


@pytest.mark.parametrize("recording", EXCHANGES.values(), ids=EXCHANGES)
async def test_recorded_exchanges_are_as_documented(server: RunningHttpServer, recording: Any) -> None:
    described = await document(server)
    validator(described, "UpdateSequenceStep").validate(recording["request"]["body"])
    validator(described, "Envelope").validate(recording["response"]["body"])
    assert str(recording["response"]["status"]) in described["paths"][PATH]["patch"]["responses"]


async def test_every_response_is_of_the_documented_shape(server: RunningHttpServer) -> None:
    check = validator(await document(server), "Envelope")
    cause = Cause(400, {"message": ["no"]}, {"server": "x"})
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", "Title", Origin.PROVIDER, cause, Outcome.UNKNOWN, 1.5)
    warning = StepWarning(WarningType.NO_CHANGE, "Nothing.")
    server.failing(problem, warnings=(warning,), changes=(FieldChange("template.body", "a", None),))
    check.validate((await server.patch()).json())
    check.validate((await server.patch([])).json())
    check.validate((await server.client.get("/")).json())
    with pytest.raises(jsonschema.ValidationError):
        check.validate({"errors": [{}], "warnings": [], "changes": []})
