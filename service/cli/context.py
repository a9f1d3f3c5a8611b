"""Shares between commands how settings and the store are opened, and how rows, JSON and errors are printed."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from service.connections import Store
from service.domain.step import Provider
from service.providers import providers
from service.settings import Settings

T = TypeVar("T")


def load_settings() -> Settings:
    """Reads the settings from the environment; ends the command with status 1 if one of them is not valid."""
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "SEQSTEP_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else "settings"
            print_error(f"{name}: {problem['msg']}")
        raise typer.Exit(1) from None


def print_error(message: str) -> None:
    """Prints one line on standard error."""
    Console(stderr=True, soft_wrap=True).print(f"seqstep: {message}", style="red", highlight=False, markup=False)


def parse_provider(name: str) -> Provider:
    """Parses a provider's name, for an option of a command."""
    provider = providers().get(name)
    if provider is None:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, providers()))}.")
    return provider


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs an asynchronous command."""
    return asyncio.run(main())


@asynccontextmanager
async def open_store() -> AsyncIterator[Store]:
    """Opens the store of the settings and checks its schema."""
    opened = Store.open(load_settings().database_url.get_secret_value())
    try:
        await opened.check_schema()
        yield opened
    finally:
        await opened.close()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows: as a table on a terminal, as tab-separated lines elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_json(value: Any) -> None:
    """Prints a value as JSON, for programs."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def format_time(seconds: float | None) -> str:
    """Formats a Unix time for people, in UTC; a dash for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds is not None else "-"
