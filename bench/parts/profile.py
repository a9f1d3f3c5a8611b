"""`profile`: what a call's CPU time is spent on, beside the floor's."""

import re
import subprocess
import sys
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench import variants
from bench.load import Load
from bench.measure import measure
from bench.processes import ROOT, Cores, NotHere
from bench.report import Row, Section, Table
from bench.stage import Stage
from bench.upstream import nginx_or_small
from bench.variants import service

_SAMPLES_A_SECOND: Final = 300
_PY_SPY: Final = str(Path(sys.executable).with_name("py-spy"))
_FOLDERS: Final = ("api", "connections", "domain", "observability", "providers", "rest", "rpc", "upstream")
_OUTSIDE: Final = "without the interpreter: system calls, gRPC's threads"
_NATIVE: Final = "gRPC and the event loop"
_OTHER: Final = "other Python"

# `function (path:line)`
_FRAME: Final = re.compile(r"^.* \((?P<path>.*):\d+\)$")


def run(stage: Stage) -> Section:
    """CPU per call by part, from samples of the process under full load."""
    if not Path(_PY_SPY).exists():
        raise NotHere("py-spy is not installed")
    cores = Cores.apart()
    with service() as ours, nginx_or_small(stage.folder, cores) as upstream:
        with stage.doing("Sampling the floor …"):
            floor = _profile(stage, variants.running(variants.FLOOR, upstream, cores), cores)
        with stage.doing("Sampling this service …"):
            found = _profile(stage, ours.running(upstream, cores), cores)
    names = sorted({*floor, *found}, key=lambda name: -found.get(name, 0.0))
    rows = [_row(name, floor.get(name, 0.0), found.get(name, 0.0)) for name in names]
    rows.append(_row("all", sum(floor.values()), sum(found.values())))
    how = (
        f"Microseconds of CPU per call: samples that py-spy took, {_SAMPLES_A_SECOND} a second, of the thread that has the "
        "interpreter, as shares of the CPU per call that was measured without py-spy in the same run. A sample counts for "
        "the innermost part of the service that it is in; what aiohttp, httpx, pyqwest and structlog do is counted for them."
    )
    return Section(
        [Table("CPU per call by part, µs", ("", "floor", "this service", "difference"), rows)],
        notes=[how],
        data={"floor": dict(floor), "service": dict(found)},
    )


def _row(name: str, was: float, now: float) -> Row:
    return name, f"{was:.0f}", f"{now:.0f}", f"{now - was:+.0f}"


def _profile(stage: Stage, running: AbstractContextManager[Load], cores: Cores) -> dict[str, float]:
    seconds = stage.effort.seconds * stage.effort.rounds
    raw = stage.folder / "samples"
    with running as load:
        cost = stage.measure(load, cores).cpu_per_call
        command = [
            _PY_SPY,
            "record",
            "--pid",
            str(load.server_pid),
            "--duration",
            f"{seconds:.0f}",
            "--gil",
            "--full-filenames",
        ]
        command += ["--rate", str(_SAMPLES_A_SECOND), "--format", "raw", "--output", str(raw)]
        sampling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        measure(replace(load, seconds=seconds + 1, warm_up=0), cores)
        _, said = sampling.communicate(timeout=60)
        if sampling.returncode:
            raise NotHere(f"py-spy failed: {said.strip().splitlines()[-1]}")
    samples = _by_part(raw)
    taken = _SAMPLES_A_SECOND * round(seconds)
    samples[_OUTSIDE] = max(0, taken - samples.total())
    return {part: cost * count / samples.total() for part, count in samples.items()}


def _by_part(raw: Path) -> Counter[str]:
    parts: Counter[str] = Counter()
    for line in raw.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        parts[_part(stack.split(";"))] += int(count)
    return parts


def _part(stack: list[str]) -> str:
    """The part that the innermost frame of a stack belongs to."""
    for frame in reversed(stack):
        match = _FRAME.match(frame)
        path = match["path"] if match else ""
        for library in ("aiohttp", "httpx", "pyqwest", "structlog"):
            if f"/{library}/" in path:
                return library
        if "asyncio/runners.py" in path:
            return _NATIVE
        if f"{ROOT}/service/" in path:
            inside = path.removeprefix(f"{ROOT}/service/")
            folder = inside.partition("/")[0]
            return f"service/{folder}/" if folder in _FOLDERS else f"service/{inside}"
        if path.startswith(f"{ROOT}/bench/"):
            return "the floor itself"
    return _OTHER
