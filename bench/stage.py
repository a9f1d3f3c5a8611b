"""What all parts of the measurements share: how thorough they are, where they run, and who shows how far they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trustme
from rich.console import Console

from bench.load import Load, Result
from bench.measure import measure
from bench.processes import Cores
from bench.upstream import TlsFiles


@dataclass(frozen=True, slots=True)
class Effort:
    """How thorough the measurements are.

    Attributes:
        rounds: How often everything is measured, in turn.
        seconds: How long at a time.
        warm_up: Seconds of load before that.
        sizes: How many connections the store has.
        overload_seconds: How long the overload lasts.
        soak_minutes: How long the soak lasts.
        calls: How many calls the process that is asked for its memory has answered.
        race_pairs: How many pairs of updates race in one process; across replicas, half as many.
    """

    rounds: int = 5
    seconds: float = 4.0
    warm_up: float = 1.5
    sizes: tuple[int, ...] = (10, 10_000, 1_000_000)
    overload_seconds: float = 60.0
    soak_minutes: float = 10.0
    calls: int = 10_000
    race_pairs: int = 2_000

    @classmethod
    def quick(cls) -> "Effort":
        """Enough to see that everything works and roughly where it stands."""
        return cls(2, 1.0, 0.5, (10, 10_000), 5.0, 0.25, 1_000, 80)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a part runs.

    Attributes:
        effort: How thorough it is.
        folder: For its files; gone afterwards.
        console: Where it shows how far it is.
    """

    effort: Effort
    folder: Path
    console: Console

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Shows what is being done until the end of the block."""
        with self.console.status(what):
            yield

    def measure(self, load: Load, cores: Cores) -> Result:
        """Runs a load for as long as the effort has it."""
        return measure(replace(load, seconds=self.effort.seconds, warm_up=self.effort.warm_up), cores)

    def tls_files(self) -> TlsFiles:
        """A certificate of 127.0.0.1, made for this run."""
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1", "localhost")
        files = TlsFiles(self.folder / "certificate.pem", self.folder / "key.pem", self.folder / "authority.pem")
        files.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(files.private_key))
        authority.cert_pem.write_to_path(str(files.authority))
        return files


def others(results: list[Result]) -> str:
    """How much else the machine had to do meanwhile."""
    cores = sorted(max(0.0, result.other_cpu / result.seconds) for result in results)
    return f"Other processes used {cores[len(cores) // 2]:.2f} cores meanwhile, and {cores[-1]:.2f} at the most."
