"""The Helm chart, and the plain manifests that come from it: rendered by Helm, and compared with Kubernetes' own schemas."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from service.settings import Settings
from service.tasks import LAST_RENEWAL_SECONDS
from tests.support.kubernetes import CHART, VERSIONS, problems, render
from tools import manifests

VALUE_SETS: dict[str, dict[str, Any]] = {
    "tls": {"tls": {"secret": "seqstep-tls"}},
    "plaintext": {
        "allowPlaintext": True,
        "http": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "replicas": 1,
    },
    "everything": {
        "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
        "secrets": {
            "databaseUrl": {"name": "cluster-app", "key": "uri"},
            "databaseCa": {"name": "cluster-ca"},
            "providerProxy": {"name": "proxy"},
        },
        "tls": {"secret": "seqstep-tls", "clientCa": {"name": "callers"}},
        "providerCa": {"name": "authorities"},
        "settings": {
            "SEQSTEP_WORKERS": 2,
            "SEQSTEP_LOG_LEVEL": "warning",
            "SEQSTEP_LOG_FORMAT": "console",
            "SEQSTEP_CHANNELZ": True,
            "SEQSTEP_CACHE_SECONDS": 2.5,
            "SEQSTEP_PROVIDER_MAX_ANSWER_BYTES": 33554432,
        },
        "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
        "drainSeconds": 7.5,
        "stopGraceSeconds": 20,
        "autoscaling": {"enabled": True},
        "networkPolicy": {
            "from": [{"namespaceSelector": {"matchLabels": {"team": "billing"}}}],
            "metricsFrom": [{"namespaceSelector": {}}],
            "databaseTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "databasePort": 6432,
            "extraEgress": [{"ports": [{"port": 4318}]}],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podAnnotations": {"example.com/team": "billing"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "priorityClassName": "high",
    },
}

slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(params=VALUE_SETS)
def values(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with each set of values in turn."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(VALUE_SETS[request.param]))
    return path


def of_kind(resources: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in resources if each["kind"] == kind]


def container_of(resource: dict[str, Any]) -> dict[str, Any]:
    [container] = resource["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


@slow
def test_helm_has_nothing_to_say_about_the_chart(helm: str, values: Path) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", CHART, "--values", values], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^\[\w+\].*", done.stdout, re.MULTILINE) == ["[INFO] Chart.yaml: icon is recommended"]


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(helm: str, values: Path, version: str) -> None:
    resources = [each for each in render(helm, "--values", values) if each["kind"] != "ServiceMonitor"]
    assert {each["kind"] for each in resources} >= {"Deployment", "Job", "Service", "PodDisruptionBudget"}
    assert [problem for resource in resources for problem in problems(resource, version)] == []


@slow
def test_the_names_in_the_resources_fit_together(helm: str, values: Path) -> None:
    resources = render(helm, "--values", values)
    [deployment] = of_kind(resources, "Deployment")
    pod = deployment["spec"]["template"]
    container = container_of(deployment)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in of_kind(resources, "Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind(resources, "PodDisruptionBudget")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(resources, "NetworkPolicy")]
    selectors += [each["labelSelector"]["matchLabels"] for each in pod["spec"]["topologySpreadConstraints"]]
    for selector in selectors:
        assert selector.items() <= pod["metadata"]["labels"].items()
    # Pods of the migration serve nothing; no Service may send calls there.
    [job] = of_kind(resources, "Job")
    for service in of_kind(resources, "Service"):
        assert not service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= set(ports)
    for policy in of_kind(resources, "NetworkPolicy"):
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} == set(ports)
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"]
    for monitor in of_kind(resources, "ServiceMonitor"):
        [endpoint] = monitor["spec"]["endpoints"]
        scraped = [
            each["metadata"]
            for each in of_kind(resources, "Service")
            if endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
        ]
        # One Service of the two, so that no pod is scraped twice; the alerts want the job to be called seqstep.
        assert [each["name"] for each in scraped] == ["seqstep-headless"]
        assert scraped[0]["labels"][monitor["spec"]["jobLabel"]] == "seqstep"
        assert monitor["spec"]["selector"]["matchLabels"].items() <= scraped[0]["labels"].items()


@slow
def test_a_pod_is_what_the_restricted_standard_allows(helm: str, values: Path) -> None:
    resources = render(helm, "--values", values)
    for resource in [*of_kind(resources, "Deployment"), *of_kind(resources, "Job")]:
        pod = resource["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container_of(resource)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        # As in the Dockerfile, which has no name for its group that Kubernetes could check.
        assert f"USER {pod['securityContext']['runAsUser']}" in (CHART.parents[2] / "Dockerfile").read_text()


@slow
def test_a_pod_gets_settings_that_the_service_reads(
    helm: str, values: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resources = render(helm, "--values", values)
    [deployment] = of_kind(resources, "Deployment")
    environment = environment_of(container_of(deployment))
    sources = deployment["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
    mounted = {item["path"] for source in sources for each in source.values() for item in each["items"]}
    for path in mounted:
        (tmp_path / path).write_text("x")
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("/etc/seqstep", str(tmp_path)))
    settings = Settings()
    known = {f"SEQSTEP_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in environment if name.startswith("SEQSTEP_")} <= known
    files = {value for value in environment.values() if value.startswith("/etc/seqstep/")}
    # The database's authority is named in the URL.
    assert {Path(path).name for path in files} == mounted - {"database-ca.crt"}
    wanted = yaml.safe_load(values.read_text())
    for name, value in wanted.get("settings", {}).items():
        assert getattr(settings, name.removeprefix("SEQSTEP_").lower()) == value
    # Longer than the service takes to stop at most, and no longer than that needs.
    longest = settings.drain_seconds + settings.stop_grace_seconds + LAST_RENEWAL_SECONDS
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert longest + 5 <= grace < longest + 6
    assert grace == 45 or "drainSeconds" in wanted


@slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "set tls.secret to a Secret of type kubernetes.io/tls, or allowPlaintext=true"),
        (["allowPlaintext=true", "tls.clientCa.name=callers"], "tls.clientCa needs tls.secret"),
        (["replicas=many"], "at '/replicas': got string, want integer"),
        (["replica=2"], "additional properties 'replica' not allowed"),
        (["settings.SEQSTEP_WORKERS=65"], "at '/settings/SEQSTEP_WORKERS': maximum: got 65, want 64"),
        (["settings.SEQSTEP_LOG_LEVEL=loud"], "at '/settings/SEQSTEP_LOG_LEVEL': 'loud' does not match"),
        (["settings.SEQSTEP_LOGLEVEL=info"], "at '/settings': additional properties 'SEQSTEP_LOGLEVEL' not allowed"),
        (["settings.SEQSTEP_DATABASE_URL=x"], "at '/settings': additional properties 'SEQSTEP_DATABASE_URL' not"),
        (["extraEnv[0].name=SEQSTEP_LOG_LEVEL"], "at '/extraEnv/0/name': 'not' failed"),
        (["secrets.databaseUrl.name="], "at '/secrets/databaseUrl/name': minLength"),
        (["image.digest=latest"], "at '/image/digest': 'latest' does not match pattern"),
        (["drainSeconds=-1"], "at '/drainSeconds': minimum: got -1, want 0"),
    ],
)
def test_a_wrong_value_is_named(helm: str, arguments: list[str], said: str) -> None:
    sets = [part for argument in arguments for part in ("--set", argument)]
    done = subprocess.run([helm, "template", "seqstep", CHART, *sets], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_schema_has_the_settings_of_the_service() -> None:
    assert manifests.SCHEMA.read_text() == manifests.schema(), "run `make generate`"


@slow
@pytest.mark.parametrize("name", manifests.RENDERED)
def test_the_plain_manifests_are_fresh(helm: str, name: str) -> None:
    assert (manifests.MANIFESTS / name).read_text() == manifests.manifest(name, helm), "run `make manifests`"
