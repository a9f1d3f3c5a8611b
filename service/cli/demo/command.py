"""`seqstep demo`: changes a step at each provider through a real service, and prints what the provider has before and after."""

import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import typer

from service.cli import output
from service.cli.demo.environment import CUSTOMER, SEQSTEP, DemoEnvironment

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_APPLICATION: Final = "demo"


cli = typer.Typer(add_completion=False)


class NotStarted(Exception):
    """A process of the demonstration did not start; the message has its output."""


@cli.command()
def demo() -> None:
    """Change a step at each provider through a real service in front of a sandbox, and show what happened."""
    try:
        wrong = asyncio.run(_demo())
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("Interrupted; everything that was started has been stopped.", err=True)
        raise typer.Exit(130) from None
    except NotStarted as failure:
        typer.echo(f"seqstep: {failure}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(int(wrong > 0))


async def _demo() -> int:
    """Runs sandbox, service and scenarios; returns how many scenarios did not end as they should."""
    _stop_on_first_signal()
    out = output.console()
    out.print("Starting the sandbox …")
    with tempfile.TemporaryDirectory(prefix="seqstep-demo-") as folder:
        async with _process("sandbox", ("sandbox", "--port", "0"), None, _sandbox_url) as sandbox:
            out.print(f"Sandbox (Apollo and Outreach stand-ins): {sandbox}")
            out.print("Making a database, an encryption key, an application and connections …")
            demo = await _prepare(Path(folder), sandbox)
            out.print(f"Database, encryption key, application {_APPLICATION}, connections of customer {CUSTOMER}: made")
            out.print("Starting the service …")
            environment = {
                **demo.environment,
                "SEQSTEP_GRPC_ADDRESS": "127.0.0.1:0",
                "SEQSTEP_HTTP_ADDRESS": "",
                "SEQSTEP_LOG_FORMAT": "json",
            }
            async with _process("service", ("serve",), environment, _grpc_address) as address:
                out.print(f"Service (gRPC): {address}")
                from service.cli.demo import scenarios  # noqa: PLC0415  # gRPC is slow to load

                api_key = demo.api_key_file.read_text(encoding="utf-8").strip()
                return await scenarios.run_scenarios(out, sandbox, address, api_key)


def _stop_on_first_signal() -> None:
    """Lets the first SIGINT or SIGTERM end the demonstration in order, and ignores further ones."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101

    def interrupt() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)


async def _prepare(folder: Path, sandbox: str) -> DemoEnvironment:
    preparing = asyncio.create_task(asyncio.to_thread(DemoEnvironment.prepare, folder, _APPLICATION, sandbox))
    try:
        return await asyncio.shield(preparing)
    except asyncio.CancelledError:
        # It writes to the folder that is about to be removed.
        await asyncio.wait({preparing})
        raise


def _sandbox_url(line: str) -> str | None:
    _, found, url = line.partition("listening on ")
    return url.strip() if found else None


def _grpc_address(line: str) -> str | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("event") != "serving":
        return None
    address = event.get("grpc_address")
    return address if isinstance(address, str) else None


@contextlib.asynccontextmanager
async def _process(
    name: str, arguments: tuple[str, ...], environment: Mapping[str, str] | None, ready: Callable[[str], str | None]
) -> AsyncIterator[str]:
    """Runs a command of `seqstep` until the end of the block.

    Args:
        name: Its name in messages.
        arguments: The arguments of the command.
        environment: Its environment; None for this process's own.
        ready: Returns the address in a line of its output that says it is ready, else None.

    Yields:
        What `ready` returned.

    Raises:
        NotStarted: It ended, or was not ready in time.
    """
    process = await asyncio.create_subprocess_exec(
        *SEQSTEP,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # Ctrl-C reaches the demonstration only, which stops the others in order.
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101
    reading: asyncio.Task[None] | None = None
    try:
        found = await _until_ready(name, process.stdout, ready)
        reading = asyncio.create_task(_discard(process.stdout))
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if reading is not None:
            reading.cancel()


async def _until_ready(name: str, output: asyncio.StreamReader, ready: Callable[[str], str | None]) -> str:
    lines = []
    try:
        async with asyncio.timeout(_START_SECONDS):
            async for line in output:
                text = line.decode("utf-8", "replace")
                if found := ready(text):
                    return found
                lines.append(text)
    except TimeoutError:
        raise NotStarted(f"the {name} was not ready in {_START_SECONDS:g} s: {''.join(lines).strip()}") from None
    raise NotStarted(f"the {name} did not start: {''.join(lines).strip()}")


async def _discard(output: asyncio.StreamReader) -> None:
    # A full pipe would stop the process.
    async for _ in output:
        pass
