"""`isolation`: what callers of one provider notice of another one that hangs."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Final

from bench.load import Result
from bench.measure import measure
from bench.parts.overload import ANSWER_SECONDS
from bench.processes import Cores
from bench.report import Goal, Row, Section, Spread, Table
from bench.stage import Stage, others
from bench.upstream import UpstreamServer, small
from bench.variants import Service, service

_HANGS_SECONDS: Final = 3600.0
_LIMIT: Final = 1.5
_ROUNDS: Final = 3
_RATE: Final = 40.0
_LIMITS: Final = {"SEQSTEP_MAX_CONCURRENT_CALLS": "64"}
_OTHER_RATE: Final = 100.0

# By then a provider that hangs has all the calls that it may have.
_WARM_UP_SECONDS: Final = 3.0


def run(stage: Stage) -> Section:
    """Apollo's latency while Outreach answers, and while it hangs."""
    cores = Cores.apart()
    normal: list[Result] = []
    hanging: list[Result] = []
    with service() as made, small(cores, ANSWER_SECONDS) as good, small(cores, _HANGS_SECONDS) as bad:
        for number in range(min(_ROUNDS, stage.effort.rounds)):
            for name, outreach, results in (("answers", good, normal), ("hangs", bad, hanging)):
                with stage.doing(f"Round {number + 1}: Outreach {name} …"):
                    results.append(_beside(stage, made, good, outreach, cores))
    rows: list[Row] = [
        (
            name,
            *(Spread.of([each.latencies[p] for each in results]).show(1) for p in ("p50", "p99", "p99.9")),
            f"{sum(each.calls for each in results):,}",
            f"{sum(each.refused for each in results):,}",
        )
        for name, results in (("answers", normal), ("hangs", hanging))
    ]
    ratio = Spread.ratio([each.latencies["p99"] for each in hanging], [each.latencies["p99"] for each in normal])
    refused = sum(each.refused for each in (*normal, *hanging))
    how = (
        f"{_RATE:.0f} calls a second to Apollo, which answers after {ANSWER_SECONDS * 1000:.0f} ms, beside "
        f"{_OTHER_RATE:.0f} a second to Outreach by the same application."
    )
    return Section(
        [
            Table(
                "Calls to Apollo while Outreach …",
                ("Outreach", "p50, ms", "p99, ms", "p99.9, ms", "good answers", "refusals"),
                rows,
            )
        ],
        [
            Goal(
                f"Isolation: p99 while the other provider hangs ≤ {_LIMIT} × normal, nobody refused",
                f"{ratio.show(2, ' ×')}, {refused} refused",
                ratio.middle <= _LIMIT and not refused,
            )
        ],
        [how, others([*normal, *hanging])],
        {"answers": [asdict(each) for each in normal], "hangs": [asdict(each) for each in hanging]},
    )


def _beside(stage: Stage, made: Service, apollo: UpstreamServer, outreach: UpstreamServer, cores: Cores) -> Result:
    seconds = 2 * stage.effort.seconds
    own = _LIMITS | {"SEQSTEP_OUTREACH_BASE_URL": outreach.url}
    with made.running(apollo, cores, environment=own) as load, ThreadPoolExecutor() as threads:
        ours = replace(load, rate=_RATE, seconds=seconds, warm_up=_WARM_UP_SECONDS, may_refuse=True)
        # Calls that hang are left behind at the end.
        theirs = replace(ours, provider="outreach", rate=_OTHER_RATE, seconds=seconds + 1, patience=0)
        busy = threads.submit(measure, theirs, cores, empty=True)
        found = measure(ours, cores)
        busy.result()
    return found
