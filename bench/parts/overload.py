"""`overload`: four times as many calls as the service admits, for a minute."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from bench.load import Load, Result
from bench.measure import measure
from bench.processes import Cores
from bench.report import Goal, Row, Section, Table, percentiles
from bench.stage import Stage, others
from bench.upstream import small
from bench.variants import service

# Refusing costs about half as much as a call, so the limit is one that leaves the core time to refuse.
_MAX_CALLS: Final = 76
# What one application may have at one provider when it is alone: half of the provider's half, less what is for newcomers.
_PROVIDER_CALLS: Final = _MAX_CALLS * 15 // 64
ANSWER_SECONDS: Final = 0.05

_LIMITS: Final = {"SEQSTEP_MAX_CONCURRENT_CALLS": str(_MAX_CALLS)}

_TIMES: Final = 4
_PEAK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Logged:
    """What the service itself says of its calls: statuses, and milliseconds of those that it was too full for."""

    statuses: Counter[str]
    refusals: dict[str, float]


def run(stage: Stage) -> Section:
    """Four times what the service admits: good answers, refusals, memory."""
    cores = Cores.apart()
    with (
        service() as made,
        small(cores, ANSWER_SECONDS) as upstream,
        made.running(upstream, cores, environment=_LIMITS) as load,
    ):
        with stage.doing("Measuring the peak …"):
            seconds = min(_PEAK_SECONDS, stage.effort.overload_seconds)
            peak = measure(replace(load, concurrency=_PROVIDER_CALLS, seconds=seconds), cores)
        log = made.log(load.port)
        begin = log.stat().st_size
        over = _overload(stage, load, _TIMES * peak.rate, cores)
        recorded = logged(log, begin)
    goodput = over.rate / peak.rate
    fifth = max(1, len(over.memory) // 5)
    first, last = median(over.memory[:fifth]) / 1e6, median(over.memory[-fifth:]) / 1e6
    offered = (over.calls + over.refused) / over.seconds
    rows: list[Row] = [
        ("offered a second", f"{peak.rate:,.0f}", f"{offered:,.0f}"),
        ("good answers a second", f"{peak.rate:,.0f}", f"{over.rate:,.0f} ({goodput:.0%})"),
        ("good answers: p50, p99, ms", _two(peak.latencies), _two(over.latencies)),
        ("refusals", "0", f"{over.refused:,}"),
        ("refusals at the caller: p50, p99, ms", "", _two(over.refusals)),
        ("refusals in the service: p50, p99, ms", "", _two(recorded.refusals)),
        ("memory, first and last fifth, MB", "", f"{first:.0f}, {last:.0f}"),
        ("server's core", f"{peak.server_share:.0%}", f"{over.server_share:.0%}"),
        ("generator's core", f"{peak.load_share:.0%}", f"{over.load_share:.0%}"),
        ("statuses in the log", "", ", ".join(f"{name} {count:,}" for name, count in recorded.statuses.items())),
    ]
    refused = over.refusals.get("p99", 0.0)
    how = (
        f"At most {_MAX_CALLS} calls, of which one provider may have half, and {ANSWER_SECONDS * 1000:.0f} ms for each answer of "
        "the provider. The peak is what as many callers get as are admitted, one call at a time each; in the overload, "
        "calls begin at random moments whether or not others have ended."
    )
    return Section(
        [Table(f"{_TIMES} times the peak for {over.seconds:.0f} s", ("", "peak", "overload"), rows)],
        [
            Goal("Overload: good answers ≥ 90 % of the peak", f"{goodput:.0%}", goodput >= 0.9),
            Goal("Overload: refusals' p99 < 10 ms at the caller", f"{refused:.1f} ms", refused < 10),
            Goal("Overload: memory stays flat", f"{last - first:+.1f} MB", last - first < 5),
        ],
        [how, others([over])],
        {
            "peak": asdict(peak),
            "overload": asdict(over),
            "statuses": dict(recorded.statuses),
            "logged": recorded.refusals,
        },
    )


def _overload(stage: Stage, load: Load, rate: float, cores: Cores) -> Result:
    seconds = stage.effort.overload_seconds
    with stage.doing(f"Offering {rate:,.0f} calls a second for {seconds:.0f} s …"):
        return measure(replace(load, rate=rate, seconds=seconds, warm_up=2, may_refuse=True), cores)


def logged(log: Path, begin: int = 0) -> Logged:
    """What the log says of calls, from a byte of it on."""
    statuses: Counter[str] = Counter()
    took = []
    with log.open("rb") as lines:
        lines.seek(begin)
        for line in lines:
            if b'"event":"call"' in line:
                entry = json.loads(line)
                status = entry.get("grpc_status", "over HTTP")
                statuses[status] += 1
                if status == "RESOURCE_EXHAUSTED":
                    took.append(entry["ms"])
    return Logged(statuses, percentiles(took))


def _two(milliseconds: dict[str, float]) -> str:
    return f"{milliseconds['p50']:.1f}, {milliseconds['p99']:.1f}" if milliseconds else ""
