"""Makes the plain manifests from the chart, by Helm, and the chart's schema of settings from the service's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from service.settings import Settings

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
CHART: Final = DEPLOY / "helm" / "seqstep"
SCHEMA: Final = CHART / "values.schema.json"
MANIFESTS: Final = DEPLOY / "kubernetes"

RENDERED: Final = {
    "migration.yaml": ("migration.yaml",),
    "seqstep.yaml": ("services.yaml", "deployment.yaml", "availability.yaml", "networkpolicy.yaml"),
}
"""Each plain manifest, and the chart's templates that it comes from."""

VALUES: Final = ("--set", "tls.secret=seqstep-tls")
"""The values that they are rendered with."""

BY_OTHER_VALUES: Final = {
    *("grpc_address", "http_address", "admin_address", "drain_seconds", "stop_grace_seconds"),
    *("database_url", "database_url_file", "encryption_keys", "encryption_keys_file"),
    *("provider_proxy", "provider_proxy_file", "provider_ca_file"),
    *("tls_certificate", "tls_private_key", "tls_client_ca", "allow_plaintext"),
}
"""The settings that the chart gives by itself, from values that are not called as they are."""


def schema() -> str:
    """The schema of the chart's values, with the settings as they are in the code."""
    kept: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    found = Settings.model_json_schema()
    known: dict[str, Any] = {}
    for name, described in found["properties"].items():
        if name not in BY_OTHER_VALUES:
            rules = {key: value for key, value in described.items() if key not in {"default", "title"}}
            known[f"SEQSTEP_{name.upper()}"] = rules
    # The one setting that may be left empty; a value that is given is one of these.
    known["SEQSTEP_LOG_FORMAT"] = {
        "enum": found["$defs"]["LogFormat"]["enum"],
        "description": known["SEQSTEP_LOG_FORMAT"]["description"],
    }
    kept["properties"]["settings"]["properties"] = known
    return json.dumps(kept, indent=2) + "\n"


def manifest(name: str, helm: str = "helm") -> str:
    """A plain manifest, as Helm renders it."""
    only = [argument for template in RENDERED[name] for argument in ("--show-only", f"templates/{template}")]
    done = subprocess.run(
        [helm, "template", "seqstep", str(CHART), *VALUES, *only], capture_output=True, text=True, check=True
    )
    return f"# Rendered from deploy/helm/seqstep by `make manifests`.\n{done.stdout}"


def main() -> None:
    """Writes the manifests; `make generate` writes the schema."""
    for name in RENDERED:
        (MANIFESTS / name).write_text(manifest(name, *sys.argv[1:]), encoding="utf-8")


if __name__ == "__main__":
    main()
