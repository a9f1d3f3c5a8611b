"""Judges what runners observe: whether each observation is as its vector expects, and whether it came in time."""

import asyncio
import contextlib
import json
import os
import signal
from asyncio import create_subprocess_exec, subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.processes import ROOT

DEADLINE_SECONDS: Final = 10
"""How long a call may take that does not say it."""

GRACE_SECONDS: Final = 20.0
"""How much longer than its calls a vector may take."""

STARTING_SECONDS: Final = 60.0
"""How long a runner may take to start."""

_MOST_BYTES_OF_A_LINE: Final = 64 * 1024 * 1024
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Result:
    """What the judge says of one vector; `why` is empty if it passed. A runner that broke is a result without a name."""

    name: str
    why: str


def calls_of(vector: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The calls of a vector, which is one itself unless it lists some."""
    calls: Sequence[Mapping[str, Any]] = vector.get("calls", [vector])
    return calls


def verdict(vector: Mapping[str, Any], observations: Any) -> str:
    """Says what of the observations is not as the vector expects; empty if nothing."""
    calls = calls_of(vector)
    expected = [call["expect"] for call in calls for _ in range(call.get("times", 1))]
    if not isinstance(observations, list) or len(observations) != len(expected):
        return f"observations are {_shown(observations)}, not {len(expected)} of them"
    several = len(expected) > 1
    wrong = [
        each
        for number, (wanted, observed) in enumerate(zip(expected, observations, strict=True))
        for each in _differences(wanted, observed, f"[{number}]" if several else "")
    ]
    return "; ".join(wrong[:5])


def _differences(expected: Any, observed: Any, path: str) -> list[str]:
    if isinstance(observed, dict) and "crashed" in observed:
        return [f"{path} crashed: {_shown(observed['crashed'])}".lstrip()]
    return mismatches(expected, observed, path)


def mismatches(expected: Any, actual: Any, path: str) -> list[str]:
    """What of a value is not as expected, by the rules of README.md.

    Args:
        expected: A value, or an object with a member such as `$contains`.
        actual: What came.
        path: Where in the observation it is.
    """
    match expected:
        case {"$absent": True}:
            fine = actual is _ABSENT
        case {"$present": True}:
            fine = actual is not _ABSENT and actual is not None and actual != ""
        case {"$contains": text}:
            fine = isinstance(actual, str) and text in actual
        case {"$bytes": most}:
            fine = isinstance(actual, str) and len(actual.encode()) <= most
        case {"$between": [low, high]}:
            fine = isinstance(actual, int | float) and not isinstance(actual, bool) and low <= actual <= high
        case {"$any": alternatives}:
            fine = any(not mismatches(each, actual, path) for each in alternatives)
        case dict():
            if not isinstance(actual, dict):
                return [f"{path} is {_shown(actual)}, not an object".lstrip()]
            return [
                each
                for key, value in expected.items()
                for each in mismatches(value, actual.get(key, _ABSENT), f"{path}.{key}".lstrip("."))
            ]
        case list():
            if not isinstance(actual, list) or len(actual) != len(expected):
                return [f"{path} is {_shown(actual)}, not {len(expected)} elements"]
            return [
                each
                for index, (one, other) in enumerate(zip(expected, actual, strict=True))
                for each in mismatches(one, other, f"{path}[{index}]")
            ]
        case _:
            # To Python, true equals 1.
            fine = expected == actual and isinstance(expected, bool) == isinstance(actual, bool)
    return [] if fine else [f"{path} is {_shown(actual)}, not {_shown(expected)}"]


def _shown(value: Any) -> str:
    text = "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


async def run_vectors(
    command: Sequence[str | Path],
    vectors: Sequence[Mapping[str, Any]],
    given: Mapping[str, str],
    *,
    grace: float = GRACE_SECONDS,
    longest: float | None = None,
) -> AsyncIterator[Result]:
    """Runs a runner and judges each vector, in order; then the runner itself, if it broke.

    A runner that prints nothing for longer than a vector may take is killed with all that it started.

    Args:
        command: The runner.
        vectors: Those that it is given, in their order.
        given: What it is given by README.md, as environment.
        grace: How many seconds longer than its calls a vector may take.
        longest: How many seconds a vector may take at most, whatever its calls say.
    """
    process = await create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in _GIVEN} | {**given},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        limit=_MOST_BYTES_OF_A_LINE,
        start_new_session=True,
    )
    reported = 0
    try:
        async for result in _judge(process, vectors, grace, longest):
            yield result
            reported += bool(result.name)
    finally:
        # A runner may have started others, such as a virtual machine.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    for left in vectors[reported:]:
        yield Result(left["name"], "not run")


async def _judge(
    process: subprocess.Process, vectors: Sequence[Mapping[str, Any]], grace: float, longest: float | None
) -> AsyncIterator[Result]:
    output: list[str] = []
    starting = STARTING_SECONDS
    for vector in vectors:
        seconds = sum(call.get("deadline_seconds", DEADLINE_SECONDS) for call in calls_of(vector)) + grace
        limit = starting + (seconds if longest is None else min(seconds, longest))
        try:
            async with asyncio.timeout(limit):
                printed = await _next_observations(process, output)
        except TimeoutError:
            yield Result(vector["name"], f"hung: nothing came for {limit:g} s")
            return
        if printed is None:
            break
        if printed["vector"] != vector["name"]:
            yield Result(vector["name"], f"{_shown(printed['vector'])} was printed in its place")
            return
        yield Result(vector["name"], verdict(vector, printed.get("observations")))
        starting = 0.0
    try:
        async with asyncio.timeout(grace):
            if await _next_observations(process, output) is not None:
                yield Result("", "more was printed than there are vectors")
            elif await process.wait():
                yield Result("", "\n".join(output[-20:]) or f"ended with status {process.returncode}")
    except TimeoutError:
        yield Result("", "did not end")


# What a runner takes from its environment, and so is never given by chance.
_GIVEN: Final = frozenset({"VECTORS", "TARGET", "API_KEY", "SANDBOX", "CA", "CLIENT_CERTIFICATE", "CLIENT_KEY"})


async def _next_observations(process: subprocess.Process, output: list[str]) -> dict[str, Any] | None:
    """The next line with observations; None where the runner has closed its output. Other lines are kept."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        with contextlib.suppress(ValueError):
            printed = json.loads(line)
            if isinstance(printed, dict) and isinstance(printed.get("vector"), str):
                return printed
        output.append(line.decode("utf-8", "replace").rstrip("\n"))
    return None
