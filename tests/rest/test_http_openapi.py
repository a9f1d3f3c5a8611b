"""The description that is served: valid OpenAPI, and what the door does."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from sandbox import seed
from service.domain.errors import CODES, Cause, ErrorCode, Origin, Outcome, Problem
from service.domain.step import FieldChange, Provider, StepWarning, WarningType
from service.rest import openapi
from tests.e2e.test_processes import place
from tests.rest.servers import EMPTY, GOOD, HttpDoor
from tests.support.processes import free_port, serving
from tests.support.service import outreach_grant

# Checks that ask for more than the door means to do, and why:
LEFT_OUT = {
    # A wrong method is NOT_FOUND_ERROR with `allow`: the status is always the one that the table gives the code.
    "unsupported_method": "405 has no code in the table",
    # Ids that are well formed lead nowhere at the provider, so that good requests fail too.
    "positive_data_acceptance": "404 for steps that do not exist",
}


# A step that is there, so that updates succeed as well.
STEPS = {
    "apollo": (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN),
    "outreach": (seed.OUTREACH_SEQUENCE_DISABLED, seed.OUTREACH_STEP_DISABLED_PLAIN),
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
    async with place(f"sqlite:///{tmp_path}/store.sqlite3", SEQSTEP_HTTP_ADDRESS=address) as made:
        await made.connections().set(made.application_id, "acme", Provider("outreach"), outreach_grant())
        async with serving(tmp_path, made.environment) as server:
            for provider, (sequence, step) in STEPS.items():
                for known in (False, True):
                    ids = f'"path.sequence_id" = "{sequence}"\n"path.sequence_step_id" = "{step}"\n'
                    folder = tmp_path / f"{provider}-{known}"
                    folder.mkdir()
                    (folder / "schemathesis.toml").write_text(f"[parameters]\n{ids}" if known else "")
                    print(await schemathesis(address, made.api_key, provider, folder))  # noqa: T201
            lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    statuses = Counter(line["http_status"] for line in lines if line["event"] == "call")
    print(dict(statuses))  # noqa: T201
    assert {200, 400, 401, 404} <= set(statuses)
    assert not {500, 502} & set(statuses)


async def test_the_description_names_what_the_table_and_the_routes_have(door: HttpDoor) -> None:
    answer = await door.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    described = answer.json()
    assert described["openapi"] == "3.1.0"
    for prefix in openapi.PREFIXES:
        operation = described["paths"][f"{prefix}{openapi.PATH}"]["patch"]
        assert set(operation["responses"]) == {"200", *(str(spec.http_status) for spec in CODES.values())}
    for path, operations in described["paths"].items():
        for method in operations:
            path = path.replace("{sequence_id}", "1").replace("{sequence_step_id}", "2")  # noqa: PLW2901
            answer = await door.client.request(method, path, headers=GOOD, json=EMPTY if method == "patch" else None)
            assert answer.status_code == 200, path


async def test_every_answer_is_of_the_described_shape(door: HttpDoor) -> None:
    described = (await door.client.get("/openapi.json")).json()
    # Nothing that the description does not know may be in an answer.
    for schema in described["components"]["schemas"].values():
        if "additionalProperties" not in schema and schema.get("properties"):
            schema["additionalProperties"] = False
    envelope = {"$ref": "#/components/schemas/Envelope", "components": described["components"]}
    check = jsonschema.Draft202012Validator(envelope, format_checker=jsonschema.FormatChecker())
    cause = Cause(400, {"message": ["no"]}, {"server": "x"})
    problem = Problem(ErrorCode.BAD_REQUEST, "No.", "Title", Origin.PROVIDER, cause, Outcome.UNKNOWN, 1.5)
    warning = StepWarning(WarningType.NO_CHANGE, "Nothing.")
    door.failing(problem, warnings=(warning,), changes=(FieldChange("template.body", "a", None),))
    check.validate((await door.patch()).json())
    check.validate((await door.patch([])).json())
    check.validate((await door.client.get("/")).json())
    with pytest.raises(jsonschema.ValidationError):
        check.validate({"errors": [{}], "warnings": [], "changes": []})
