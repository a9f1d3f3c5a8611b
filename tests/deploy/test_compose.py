"""The Compose file: checked by the schema of its specification, and by what there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped]

from sandbox.stand_ins import provider_settings
from service.settings import Settings
from tests.support.go_tools import go_module
from tests.support.prometheus import needs_prometheus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SPECIFICATION = "github.com/compose-spec/compose-go/v2@v2.16.2"


@pytest.mark.slow
def test_the_file_is_as_its_specification_says() -> None:
    module = go_module(SPECIFICATION)
    if module is None:
        pytest.skip("needs Go, which fetches the specification")
    jsonschema.validate(COMPOSE, json.loads((module / "schema" / "compose-spec.json").read_text()))


def test_every_image_is_pinned_or_built_here() -> None:
    for name, service in SERVICES.items():
        assert "build" in service or re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"]), name
    [base] = re.findall(r"^ARG PYTHON=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"ARG PYTHON={base}\n" in (FOLDER / "sandbox.Dockerfile").read_text()


def test_what_is_mounted_and_built_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (FOLDER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
    sandbox = SERVICES["sandbox"]["build"]
    copied = re.findall(r"^COPY (\S+) ", (ROOT / sandbox["dockerfile"]).read_text(), re.MULTILINE)
    allowed = (ROOT / f"{sandbox['dockerfile']}.dockerignore").read_text().splitlines()
    assert [f"!{name}" for name in copied] == [line for line in allowed if line.startswith("!")]
    assert all((FOLDER / sandbox["context"] / name).exists() for name in copied)
    dashboard = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"][0]["options"]["path"]
    assert f"../grafana/seqstep.json:{dashboard}/seqstep.json:ro" in SERVICES["grafana"]["volumes"]


def test_the_service_gets_settings_that_it_reads() -> None:
    known = {f"SEQSTEP_{name.upper()}" for name in Settings.model_fields}
    for name in ("migration", "service"):
        environment = SERVICES[name]["environment"]
        assert set(environment) <= known
        files = {value.removeprefix("/run/secrets/") for key, value in environment.items() if key.endswith("_FILE")}
        assert files == set(SERVICES[name]["secrets"]) <= set(COMPOSE["secrets"])
    assert provider_settings("http://sandbox:8090").items() <= SERVICES["service"]["environment"].items()
    drain, grace = (Settings.model_fields[name].default for name in ("drain_seconds", "stop_grace_seconds"))
    assert SERVICES["service"]["stop_grace_period"] == f"{drain + grace + 30:.0f}s"


def test_nothing_is_published_to_other_machines() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@needs_prometheus
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    for path in (FOLDER / "prometheus.yaml", ROOT / "deploy" / "prometheus" / "alerts.yaml"):
        shutil.copy(path, tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
    [job] = yaml.safe_load((tmp_path / "prometheus.yaml").read_text())["scrape_configs"]
    [admin] = re.findall(r"SEQSTEP_ADMIN_ADDRESS=\S+:(\d+)", (ROOT / "Dockerfile").read_text())
    assert job["job_name"] == "seqstep"
    assert job["static_configs"] == [{"targets": [f"service:{admin}"]}]


def test_the_page_makes_the_secrets_that_the_file_reads() -> None:
    page = (ROOT / "docs" / "one-machine.md").read_text()
    assert set(re.findall(r"^([A-Z_]+)=", page, re.MULTILINE)) == {
        secret["environment"] for secret in COMPOSE["secrets"].values()
    }
