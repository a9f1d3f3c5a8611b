"""`tls`: the same comparison with TLS between the caller and the server, and between the server and the provider."""

from contextlib import ExitStack

from bench.parts import compare
from bench.processes import Cores
from bench.report import Goal, Row, Section, Table
from bench.stage import Stage
from bench.upstream import Counts, nginx_or_small
from bench.variants import service


def run(stage: Stage) -> Section:
    """The comparison with TLS on both sides, and how many handshakes there were."""
    cores = Cores.apart()
    tls = stage.tls_files()
    with ExitStack() as stack:
        upstream = stack.enter_context(nginx_or_small(stage.folder, cores, tls))
        results, missing = compare.measured(stage, upstream, cores, tls, stage.effort.rounds)
        ours = stack.enter_context(service())
        before = upstream.counts()
        with stage.doing("Counting handshakes …"), ours.running(upstream, cores, tls=tls) as load:
            counted = stage.measure(load, cores)
            first: Counts = upstream.counts().since(before)
            before = upstream.counts()
            stage.measure(load, cores)
            seen: Counts = upstream.counts().since(before)
    # Each of the hundred customers has connections of its own, which a worker makes by and by.
    rows: list[Row] = [
        ("caller to service", f"{counted.handshakes:,}", f"{counted.calls:,} calls, and those of the warm-up"),
        ("service to provider, first", f"{first.connections:,}", f"{first.requests:,} requests"),
        ("service to provider, then", f"{seen.connections:,}", f"{seen.requests:,} requests"),
    ]
    reused = seen.requests / max(1, seen.connections)
    return Section(
        [*compare.tables(results, ", TLS on both sides"), Table("Handshakes", ("", "handshakes", "for"), rows)],
        [Goal("Connections are reused", f"{reused:,.0f} requests to the provider for a handshake", reused > 100)],
        missing,
        compare.data(results),
    )
