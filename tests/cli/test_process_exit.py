"""A process that has just used the HTTP engine ends with its own status."""

import asyncio
import os
import sys

from tests.support.processes import ROOT

# The engine's thread comes back from reporting its result while the interpreter would be torn down, which takes longer here.
SCRIPT = """
import asyncio, atexit, sys, threading, time, types
import httpx
from service.domain.deadline import Deadline
from service.process_exit import exit_process
from service.upstream.http import HttpClient

class Loop(asyncio.SelectorEventLoop):
    def call_soon_threadsafe(self, *arguments, **keywords):
        handle = super().call_soon_threadsafe(*arguments, **keywords)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(2)
        return handle

class SlowToGo:
    def __del__(self, sleep=time.sleep):
        sleep(10)

async def main():
    client = HttpClient()
    try:
        await client.send(client.build_request("GET", "http://127.0.0.1:1/", {}), Deadline.after(5))
    except httpx.ConnectError:
        print("refused")

sys.modules["slow"] = types.ModuleType("slow")
sys.modules["slow"].object = SlowToGo()
atexit.register(print, "at exit")
Loop().run_until_complete(main())
exit_process(3)
"""


async def run(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_it_ends_with_its_status_and_its_output() -> None:
    """With `sys.exit` it aborts, before Python 3.14."""
    assert await run(sys.executable, "-c", SCRIPT) == (3, "refused\nat exit\n")


async def test_output_that_nobody_reads_is_not_a_success() -> None:
    script = "from service.process_exit import exit_process; print('x'); exit_process(0)"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"input(); {script}"),
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]  # the reader goes away
    _, err = await process.communicate(b"\n")
    assert (process.returncode, err) == (1, b"")
