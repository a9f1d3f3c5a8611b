"""The alerts and the dashboard: tried by promtool, and by a real Prometheus that scrapes a running service under faults."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from sandbox import seed
from service import app
from service.domain.step import Provider
from tests.support.prometheus import needs_prometheus, query, running_prometheus
from tests.support.service import CUSTOMER, RunningService, outreach_grant, running_service

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
PANELS = json.loads((DEPLOY / "grafana" / "seqstep.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


async def promtool(*arguments: str) -> str:
    """Runs promtool; returns what it says, after checking that it is content."""
    process = await asyncio.create_subprocess_exec(
        "promtool",
        *arguments,
        cwd=DEPLOY / "prometheus",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def calls_with_faults(service: RunningService) -> None:
    """Makes calls that succeed, are repeated, are refused and fail, so that every metric has a value."""
    apollo: dict[str, Any] = {
        "provider": "apollo",
        "sequence": seed.APOLLO_SEQUENCE_INACTIVE,
        "step": seed.APOLLO_STEP_INACTIVE_PLAIN,
    }
    outreach: dict[str, Any] = {
        "provider": "outreach",
        "sequence": seed.OUTREACH_SEQUENCE_DISABLED,
        "step": seed.OUTREACH_STEP_DISABLED_PLAIN,
    }
    await service.update(**apollo, subject="One")
    service.sandbox.order_fault(provider="apollo", method="GET", status=503)
    await service.update(**apollo, subject="Two")
    service.sandbox.order_fault(provider="apollo", method="PUT", cut="reset")
    await service.update(**apollo, subject="Three")
    await service.update(**(apollo | {"sequence": "not an id"}), subject="Four")
    await service.connect(CUSTOMER, Provider("outreach"), outreach_grant(expires_at=1.0))
    await service.update(**outreach, subject="Five")


@needs_prometheus
async def test_every_alert_fires_for_its_cause_and_not_before() -> None:
    assert f"{len(RULES)} rules found" in await promtool("check", "rules", "alerts.yaml")
    assert "SUCCESS" in await promtool("test", "rules", "alerts_test.yaml")
    tested = re.findall(r"alertname: (\w+)", (DEPLOY / "prometheus" / "alerts_test.yaml").read_text())
    assert sorted(tested) == sorted([rule["alert"] for rule in RULES] * 2)


@needs_prometheus
async def test_every_panel_shows_a_running_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_COUNT_SECONDS", 0.2)
    async with running_service(tmp_path, http_address="127.0.0.1:0") as service:
        assert service.app.rest is not None
        await calls_with_faults(service)
        async with running_prometheus(tmp_path, service.app.rest.address) as prometheus:
            # A rate needs two samples. A scrape that a busy machine does not answer in time hides values until the next one.
            empty = QUERIES
            async with asyncio.timeout(90):
                while empty:
                    await asyncio.sleep(0.2)
                    empty = [expression for expression in empty if not await query(prometheus, expression)]
            from tools import dashboard_picture

            picture = tmp_path / "dashboard.png"
            await dashboard_picture.draw(prometheus, time.time() - 5, time.time(), picture)
            assert picture.read_bytes().startswith(b"\x89PNG")
            for rule in RULES:
                await query(prometheus, rule["expr"])
            loaded = (await prometheus.get("/api/v1/rules")).json()["data"]["groups"][0]["rules"]
            assert [rule["name"] for rule in loaded] == [rule["alert"] for rule in RULES]


def test_the_alerts_and_panels_name_metrics_that_the_page_explains() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    for expression in [*QUERIES, *(rule["expr"] for rule in RULES)]:
        for name in re.findall(r"\b(?:seqstep|grpc|http_client)_\w+", expression):
            assert re.sub(r"_(bucket|count|sum)$", "", name) in page, name


def test_every_alert_has_its_line_in_the_runbook() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    for rule in RULES:
        line = f"| `{rule['alert']}` | {rule['annotations']['summary']} | {rule['annotations']['runbook']} |"
        assert line in page, rule["alert"]
