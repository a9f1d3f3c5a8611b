"""`python -m bench`: measures the service, shows what came of it, and keeps it for docs/performance.md."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import attack, plot, report
from bench.measure import LoadFailed
from bench.parts import (
    calls,
    compare,
    database,
    history,
    isolation,
    latency,
    overload,
    own,
    profile,
    races,
    replicas,
    scale,
    soak,
    start,
    tls,
    workers,
)
from bench.processes import ROOT, NotHere
from bench.stage import Effort, Stage
from bench.variants import versions

Run = Callable[[Stage], report.Section]

PARTS: Final[dict[str, Run]] = {
    "compare": compare.run,
    "workers": workers.run,
    "scale": scale.run,
    "latency": latency.run,
    "calls": calls.run,
    "database": database.run,
    "start": start.run,
    "tls": tls.run,
    "isolation": isolation.run,
    "profile": profile.run,
    "own": own.run,
}

LONG_PARTS: Final[dict[str, Run]] = {
    "history": history.run,
    "overload": overload.run,
    "soak": soak.run,
    "races": races.run,
    "attack": attack.run,
    "replicas": replicas.run,
}
"""Parts that take minutes, which run when they are named."""


def main() -> int:
    """Runs the parts that are named; exit status 1 if one found an error."""
    given = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 160)
    effort = Effort.quick() if given.quick else Effort()
    effort = replace(
        effort,
        **{
            name: value
            for name, value in (
                ("rounds", given.rounds),
                ("seconds", given.seconds),
                ("soak_minutes", given.minutes),
                ("race_pairs", given.pairs),
            )
            if value
        },
    )
    output = given.output or (ROOT / "build" / "bench" if given.quick else ROOT / "docs")
    everything = PARTS | LONG_PARTS
    wrong = False
    for name in given.parts or PARTS:
        console.rule(name)
        console.print(everything[name].__doc__, highlight=False)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="seqstep-bench-") as folder:
            try:
                section = everything[name](Stage(effort, Path(folder), console))
            except NotHere as reason:
                console.print(f"{name}: skipped, {reason}", markup=False)
                continue
            except LoadFailed as failure:
                console.print(f"{name}: not measured, {failure}", markup=False)
                wrong = True
                continue
        report.show(section, console)
        wrong = wrong or section.wrong
        circumstances = {
            "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "took": round(time.monotonic() - begun),
            "machine": versions(),
        }
        parts = report.keep(output, name, section, circumstances)
        if name == "compare":
            (output / "performance.svg").write_text(plot.svg(section.data["rounds"]), encoding="utf-8")
        for document in (output / "performance.md", output / "growth.md"):
            if document.exists():
                report.write_tables(document, parts)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            f"{name:<10} {run.__doc__}{' (only when named)' if name in LONG_PARTS else ''}"
            for name, run in (PARTS | LONG_PARTS).items()
        ),
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, *LONG_PARTS, []], metavar="PART", help="see below")
    parser.add_argument("--quick", action="store_true", help="a short run; kept in build/bench, not in docs")
    parser.add_argument("--rounds", type=int, help="how often everything is measured, in turn")
    parser.add_argument("--seconds", type=float, help="how long at a time")
    parser.add_argument("--minutes", type=float, help="how long the soak lasts, and the replicas break")
    parser.add_argument("--pairs", type=int, help="how many pairs of updates race in one process")
    parser.add_argument("--output", type=Path, help="the folder for performance.json and performance.svg")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
