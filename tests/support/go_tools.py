"""Tools that Go builds from its modules, and files that are in them."""

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"
GHZ = "github.com/bojand/ghz/cmd/ghz@v0.93.0"
HEALTH_PROBE = "github.com/grpc-ecosystem/grpc-health-probe@v0.4.63"


@functools.cache
def go_tool(package: str) -> str | None:
    """Builds a tool, once in a run; None without Go, which is a failure in CI."""
    if not _has_go(package):
        return None
    folder = Path(tempfile.mkdtemp(prefix="seqstep-go-"))
    # Without optimisation, which takes a third of the time away from building.
    install = ["go", "install", "-gcflags=all=-N -l", package]
    subprocess.run(install, env={**os.environ, "GOBIN": str(folder)}, check=True)
    return str(folder / package.rpartition("/")[2].partition("@")[0])


@functools.cache
def go_module(module: str) -> Path | None:
    """The folder of a module's source; None without Go, which is a failure in CI."""
    if not _has_go(module):
        return None
    done = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def _has_go(module: str) -> bool:
    found = shutil.which("go") is not None
    if not found and os.environ.get("CI") == "true":
        pytest.fail(f"{module} is fetched by Go; install it from https://go.dev/dl")
    return found
