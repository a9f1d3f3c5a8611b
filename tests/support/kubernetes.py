"""Helm, and the schemas of Kubernetes' resources, for tests of what is deployed to a cluster."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from tests.support.go_tools import go_tool

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "seqstep"
HELM = "helm.sh/helm/v4/cmd/helm@v4.3.1"
# Its wheel has the schemas of many versions in 17,000 files, of which a few are read from where they are.
SCHEMAS = "kubernetes-validate==1.37.0 --hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9\n"
VERSIONS = ("v1.29.0", "v1.37.0")
"""The oldest version of Kubernetes that the chart is for, and the newest whose schemas there are."""


@pytest.fixture(scope="session")
def helm() -> str:
    """Helm: the one that is installed, or one that Go builds."""
    found = shutil.which("helm") or go_tool(HELM)
    if found is None:
        pytest.skip("needs Helm, or Go, which builds it")
    return found


def render(helm: str, *arguments: str | Path) -> list[dict[str, Any]]:
    """The resources that Helm renders, with its own checks of the values."""
    done = subprocess.run(
        [helm, "template", "seqstep", CHART, "--namespace", "seqstep", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


@functools.cache
def _schemas() -> zipfile.ZipFile:
    folder = Path(tempfile.mkdtemp(prefix="seqstep-schemas-"))
    (folder / "requirements.txt").write_text(SCHEMAS)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "-r", "requirements.txt"], cwd=folder, check=True)
    [wheel] = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def _read(version: str, name: str) -> Any:
    return json.loads(_schemas().read(f"kubernetes_validate/kubernetes-json-schema/{version}-local-strict/{name}"))


@functools.cache
def _definitions(version: str) -> "Registry[Any]":
    definitions = Resource.from_contents(_read(version, "_definitions.json"), DRAFT7)
    return Registry().with_resources([(uri, definitions) for uri in ("_definitions.json", "/api/_definitions.json")])


@functools.cache
def _validator(version: str, api_version: str, kind: str) -> Draft7Validator:
    group = api_version.replace(".k8s.io", "").replace("/", "-")
    return Draft7Validator(_read(version, f"{kind}-{group}.json".lower()), registry=_definitions(version))


def problems(resource: dict[str, Any], version: str) -> Iterator[str]:
    """What Kubernetes of a version would refuse of a resource; a field that it does not know, too."""
    for error in _validator(version, resource["apiVersion"], resource["kind"]).iter_errors(resource):
        yield f"{resource['kind']} {error.json_path}: {error.message}"
