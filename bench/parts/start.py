"""`start`: how long until the service serves, what is imported meanwhile, and what memory it has after many calls."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from operator import itemgetter
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.measure import measure
from bench.processes import ROOT, Cores, wait_for_port
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage
from bench.upstream import UpstreamServer, nginx_or_small
from bench.variants import Service, service

_STARTS: Final = 7
_SECONDS: Final = 1.0
_MEGABYTES: Final = 120
_SHOWN: Final = 15

# `import time:  self [us] | cumulative | imported package`, two spaces for each level.
_LINE: Final = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +([\w.]+)")


def run(stage: Stage) -> Section:
    """From the start of the process to SERVING, import times, and memory after 10,000 calls."""
    cores = Cores.apart()
    with service() as ours, nginx_or_small(stage.folder, cores) as upstream:
        # The first start reads the files; only then is the cache warm.
        with stage.doing("Starting, again and again …"):
            starts = [_start(ours, upstream, cores) for _ in range(_STARTS + 1)][1:]
        with stage.doing("Measuring imports …"):
            imports = _imports()
        with stage.doing(f"Making {stage.effort.calls:,} calls …"), ours.running(upstream, cores) as load:
            memory = measure(replace(load, calls=stage.effort.calls, warm_up=0), cores).server_memory / 1e6
    seconds = Spread.of(starts)
    rows: list[Row] = [(name, f"{took:.0f}") for name, took in list(imports.items())[:_SHOWN]]
    rest = sum(list(imports.values())[_SHOWN:])
    rows += [("all others", f"{rest:.0f}"), ("all", f"{sum(imports.values()):.0f}")]
    return Section(
        [Table("Import time by package (its own modules only)", ("package", "ms"), rows)],
        [
            Goal(
                f"Start to SERVING ≤ {_SECONDS:g} s with a warm file cache",
                seconds.show(2, " s"),
                seconds.middle <= _SECONDS,
            ),
            Goal(
                f"Memory after {stage.effort.calls:,} calls ≤ {_MEGABYTES} MB",
                f"{memory:.0f} MB",
                memory <= _MEGABYTES,
            ),
        ],
        [f"{_STARTS} starts of `seqstep serve`. `-X importtime` makes imports slower than they are without it."],
        {"starts": starts, "imports": imports, "memory": memory},
    )


def _start(ours: Service, upstream: UpstreamServer, cores: Cores) -> float:
    with ours.process(upstream, cores) as (_, port, begun):
        wait_for_port(port)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while (
                health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
                != health_pb2.HealthCheckResponse.SERVING
            ):
                time.sleep(0.002)
        return time.monotonic() - begun


def _imports() -> dict[str, float]:
    """Milliseconds that each package's own modules took to be imported by a process that serves, the slowest first."""
    command = [sys.executable, "-X", "importtime", "-c", "import service.cli.serve, service.app"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    took: dict[str, float] = {}
    for own, module in _LINE.findall(done.stderr):
        name = _package(module)
        took[name] = took.get(name, 0.0) + int(own) / 1000
    return dict(sorted(took.items(), key=itemgetter(1), reverse=True))


def _package(module: str) -> str:
    root = module.partition(".")[0]
    return "Python's own" if root.lstrip("_") in sys.stdlib_module_names or root in sys.stdlib_module_names else root
