"""Tools that Go builds from its modules."""

import functools
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
    if not shutil.which("go"):
        if os.environ.get("CI") == "true":
            pytest.fail(f"{package} is built by Go; install it from https://go.dev/dl")
        return None
    folder = Path(tempfile.mkdtemp(prefix="seqstep-go-"))
    subprocess.run(["go", "install", package], env={**os.environ, "GOBIN": str(folder)}, check=True)
    return str(folder / package.rpartition("/")[2].partition("@")[0])
