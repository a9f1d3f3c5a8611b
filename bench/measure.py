"""One measurement: a load on a server that runs."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

from bench.load import Load, Result
from bench.processes import ROOT, Cores


class LoadFailed(Exception):
    """The load generator did not get good answers; the message says what it saw."""


def measure(load: Load, cores: Cores, *, empty: bool = False) -> Result:
    """Runs the load generator.

    Args:
        load: What it does.
        cores: Where.
        empty: Whether it may be that no call succeeds.

    Raises:
        LoadFailed: It failed, or calls did.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores.load),
    )
    if done.returncode:
        raise LoadFailed(done.stderr[-2000:])
    result = Result(**json.loads(done.stdout))
    if result.failures or not (result.calls or empty):
        raise LoadFailed(f"{result.failures} calls failed and {result.calls} succeeded")
    return result
