"""The judge passes what is as expected and nothing else, whatever a runner does."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until
from tests.vectors.judge import Result, mismatches, run_vectors, verdict

VECTORS: list[dict[str, Any]] = [
    {"name": name, "deadline_seconds": 0.5, "expect": {"status": "OK"}} for name in ("first", "second", "third")
]
GOOD = "for name in ('first', 'second', 'third'): say(name)"


async def results_of(program: str, **options: Any) -> list[Result]:
    """What the judge says of a runner: a Python program that has `say`."""
    head = (
        "import json, os, sys, subprocess, time\n"
        "def say(name, status='OK'):\n"
        "    print(json.dumps({'vector': name, 'observations': [{'status': status}]}), flush=True)\n"
    )
    command: list[str | Path] = [sys.executable, "-c", head + program]
    return [result async for result in run_vectors(command, VECTORS, {}, **options)]


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"$absent": True}}, {}),
        ({"$present": True}, 0),
        ({"$contains": "el"}, "hello"),
        ({"$bytes": 3}, "é1"),
        ({"$between": [1, 2]}, 1.5),
        ({"$any": [1, {"$between": [3, 4]}]}, 3),
        ([{"a": 1}], [{"a": 1, "b": 2}]),
        (None, None),
    ],
)
def test_what_matches(expected: Any, actual: Any) -> None:
    assert mismatches(expected, actual, "x") == []


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {}),
        ({"a": 1}, [1]),
        ({"a": {"$absent": True}}, {"a": None}),
        ({"$present": True}, ""),
        ({"$present": True}, None),
        ({"$contains": "el"}, 5),
        ({"$bytes": 2}, "é1"),
        ({"$between": [1, 2]}, True),
        ({"$between": [1, 2]}, 3),
        ({"$any": [1, 2]}, 3),
        ([], [1]),
        (1, True),
        (0, False),
        ("a", None),
    ],
)
def test_what_does_not_match(expected: Any, actual: Any) -> None:
    assert mismatches(expected, actual, "x") != []


def test_every_call_is_judged() -> None:
    calls = [{"expect": {"status": "OK"}}, {"times": 2, "expect": {"status": "OK"}}]
    seen = {"status": "OK"}
    assert verdict({"calls": calls}, [seen] * 3) == ""
    assert verdict({"calls": calls}, [seen] * 2) == (
        'observations are [{"status": "OK"}, {"status": "OK"}], not 3 of them'
    )
    assert verdict({"calls": calls}, [seen, seen, {"status": "INTERNAL"}]) == '[2].status is "INTERNAL", not "OK"'
    assert verdict({"calls": calls}, None) == "observations are null, not 3 of them"


def test_a_crash_matches_nothing() -> None:
    assert verdict({"expect": {}}, [{"crashed": "ValueError"}]) == 'crashed: "ValueError"'


async def test_a_good_runner_passes() -> None:
    assert await results_of(GOOD) == [Result("first", ""), Result("second", ""), Result("third", "")]


async def test_other_lines_are_no_observations() -> None:
    results = await results_of("print('7'); print('{'); print('{}')\n" + GOOD)
    assert [result.why for result in results] == ["", "", ""]


async def test_a_wrong_observation_fails_alone() -> None:
    results = await results_of("say('first'); say('second', 'INTERNAL'); say('third')")
    assert [result.why for result in results] == ["", 'status is "INTERNAL", not "OK"', ""]


async def test_a_runner_that_ends_early_fails() -> None:
    results = await results_of("say('first'); sys.exit('no more of this')")
    assert results == [
        Result("first", ""),
        Result("", "no more of this"),
        Result("second", "not run"),
        Result("third", "not run"),
    ]


async def test_a_runner_that_leaves_vectors_out_fails() -> None:
    assert await results_of("say('first'); say('second')") == [
        Result("first", ""),
        Result("second", ""),
        Result("third", "not run"),
    ]


async def test_another_order_is_not_accepted() -> None:
    assert await results_of("say('second'); say('first'); say('third')") == [
        Result("first", '"second" was printed in its place'),
        Result("second", "not run"),
        Result("third", "not run"),
    ]


async def test_more_than_there_is_fails() -> None:
    assert (await results_of(GOOD + "\nsay('fourth')"))[-1] == Result("", "more was printed than there are vectors")


async def test_a_status_other_than_0_fails() -> None:
    assert (await results_of(GOOD + "\nsys.exit(3)"))[-1] == Result("", "ended with status 3")


async def test_a_runner_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = (
        "say('first'); child = subprocess.Popen(['sleep', '600'])\n"
        f"open({json.dumps(str(file))}, 'w').write(str(child.pid))\n"
        "child.wait()"
    )
    assert await results_of(program, grace=1.5) == [
        Result("first", ""),
        Result("second", "hung: nothing came for 2 s"),
        Result("third", "not run"),
    ]
    pid = int(file.read_text())
    await until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that has ended and that nobody has waited for is still listed.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_runner_that_does_not_end_fails() -> None:
    assert (await results_of(GOOD + "\ntime.sleep(600)", grace=1))[-1] == Result("", "did not end")
