"""`seqstep connection`: stores, lists, checks and deletes customers' credentials at providers."""

import getpass
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from service.cli import context
from service.connections import Applications, ConnectionAdministration, ConnectionSummary, Keyring
from service.domain.credentials import ApiKeyCredentials, Credentials, OAuthCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.errors import Problem
from service.domain.outcome import stated
from service.domain.step import Provider
from service.providers import REGISTRY, providers

cli = typer.Typer(help="Customers' credentials at providers.", no_args_is_help=True)

App = Annotated[str, typer.Option("--app", help="The application that owns the connection.", show_default=False)]
Customer = Annotated[
    str, typer.Option("--customer", help="The application's own id of the customer.", show_default=False)
]
ProviderOption = Annotated[
    Provider,
    typer.Option(
        "--provider",
        help="The provider.",
        show_default=False,
        parser=context.parse_provider,
        metavar=f"[{'|'.join(providers())}]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]

_CHECK_SECONDS = 20.0


class _GivenCredentials(msgspec.Struct, forbid_unknown_fields=True):
    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None
    expires_at: float | None = None
    client_id: str = ""
    client_secret: str = ""
    redirect_uri: str = ""


@asynccontextmanager
async def _connections() -> AsyncIterator[tuple[Applications, ConnectionAdministration]]:
    async with context.open_store() as store:
        keyring = Keyring.parse(context.load_settings().encryption_keys.get_secret_value())
        yield Applications(store, 0), ConnectionAdministration(store, keyring)


@cli.command("set")
def set_(app: App, customer: Customer, provider: ProviderOption) -> None:
    """Store a customer's credentials, in the place of any earlier ones.

    On a terminal they are asked for and not shown. Otherwise they are read from standard input: an API key in a line, or
    JSON with api_key, or with access_token, refresh_token, expires_in or expires_at (Unix seconds), client_id, client_secret
    and redirect_uri.
    """
    if not _credential_kinds(provider):
        context.print_error(f"{provider.title} cannot change a single step, so there is no use for a connection to it")
        raise typer.Exit(2)
    _check_customer(customer)
    credentials = (
        _read_from_terminal(provider) if sys.stdin.isatty() else _parse_credentials(provider, sys.stdin.read())
    )

    async def main() -> bool:
        async with _connections() as (applications, connections):
            application = await applications.find(app)
            return await connections.set(application.id, customer, provider, credentials)

    verb = "replaced" if context.run(main) else "made"
    typer.echo(f"connection of {customer} to {provider.title} {verb}; `seqstep connection check` tries it")


@cli.command("list")
def list_(
    app: Annotated[str | None, typer.Option("--app", help="Only those of this application.")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only those of this customer.")] = None,
    as_json: Json = False,
) -> None:
    """List connections, without their credentials."""
    _print_connections(app, customer, None, as_json=as_json)


@cli.command()
def show(app: App, customer: Customer, provider: ProviderOption, as_json: Json = False) -> None:
    """Show one connection, without its credentials."""
    if not _print_connections(app, customer, provider, as_json=as_json):
        context.print_error(f"{customer} has no connection to {provider.title} in {app}")
        raise typer.Exit(1)


@cli.command()
def check(app: App, customer: Customer, provider: ProviderOption) -> None:
    """Try a connection by one cheap read at the provider, and say what is wrong; exit status 1 if it does not work."""
    from service import app as composition  # noqa: PLC0415  # gRPC and HTTP are slow to load
    from service.upstream.connection_check import check_connection  # noqa: PLC0415

    async def main() -> tuple[Problem, ...]:
        async with _connections() as (applications, connections):
            application = await applications.find(app)
            connection = await connections.read(application.id, customer, provider)
        async with composition.sessions_for_checks(context.load_settings()) as sessions:
            return await check_connection(sessions[provider], connection, Deadline.after(_CHECK_SECONDS))

    with Console(stderr=True).status(f"Asking {provider.title} …"):
        problems = context.run(main)
    for problem in problems:
        context.print_error(stated(problem).detail)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"connection of {customer} to {provider.title} works")


@cli.command()
def delete(app: App, customer: Customer, provider: ProviderOption) -> None:
    """Delete a connection with its credentials."""

    async def main() -> bool:
        async with _connections() as (applications, connections):
            application = await applications.find(app)
            return await connections.delete(application.id, customer, provider)

    if not context.run(main):
        context.print_error(f"{customer} has no connection to {provider.title} in {app}")
        raise typer.Exit(1)
    typer.echo(f"connection of {customer} to {provider.title} deleted")


@cli.command()
def reencrypt() -> None:
    """Move all credentials to the first encryption key, while the service runs; can be stopped and begun again."""

    async def main() -> tuple[int, int]:
        moved = left = 0
        async with _connections() as (_, connections):
            total = await connections.count_to_reencrypt()
            with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
                task = progress.add_task("Re-encrypting", total=total)
                async for now_moved, now_left in connections.reencrypt():
                    moved, left = moved + now_moved, left + now_left
                    progress.advance(task, now_moved + now_left)
        return moved, left

    moved, left = context.run(main)
    typer.echo(f"{moved} moved to the first key")
    if left:
        context.print_error(
            f"{left} could not be read and were left alone; add their keys, or set those connections again"
        )
        raise typer.Exit(1)


def _print_connections(app: str | None, customer: str | None, provider: Provider | None, *, as_json: bool) -> bool:
    async def main() -> list[ConnectionSummary]:
        async with _connections() as (applications, connections):
            if app is not None:
                await applications.find(app)
            return await connections.list(app, customer)

    found = [each for each in context.run(main) if provider in (None, each.provider)]
    if as_json:
        context.print_json([asdict(each) for each in found])
    else:
        context.print_table(
            "Connections",
            ("application", "customer", "provider", "state", "since", "why"),
            [
                (
                    each.application,
                    each.customer_id,
                    each.provider,
                    each.state.value,
                    context.format_time(each.state_since),
                    each.state_reason,
                )
                for each in found
            ],
        )
    return bool(found)


def _check_customer(customer: str) -> None:
    # What cannot be sent as metadata could never be called for.
    if (
        not 1 <= len(customer) <= 255
        or customer != customer.strip()
        or not (customer.isascii() and customer.isprintable())
    ):
        context.print_error("a customer id has 1 to 255 printable ASCII characters, without space around it")
        raise typer.Exit(2)


def _credential_kinds(provider: Provider) -> tuple[type[Credentials], ...]:
    """Returns the types of credentials that a provider takes."""
    return next((known.credential_kinds for known in REGISTRY if known.provider == provider), ())


def _read_from_terminal(provider: Provider) -> Credentials:
    if ApiKeyCredentials in _credential_kinds(provider) and (
        key := getpass.getpass("API key (empty for OAuth): ").strip()
    ):
        return ApiKeyCredentials(Secret(key))
    return OAuthCredentials(
        access_token=Secret(getpass.getpass("Access token: ").strip()),
        refresh_token=Secret(getpass.getpass("Refresh token: ").strip()),
        # Its end is not known here; the provider answers 401 once it is over.
        expires_at=None,
        client_id=typer.prompt("Client id").strip(),
        client_secret=Secret(getpass.getpass("Client secret: ").strip()),
        redirect_uri=typer.prompt("Redirect URI", default="").strip(),
    )


def _parse_credentials(provider: Provider, text: str) -> Credentials:
    text = text.strip()
    if not text:
        _usage_error("standard input is empty; give the credentials there")
    if not text.startswith("{"):
        if ApiKeyCredentials not in _credential_kinds(provider) or len(text.split()) != 1:
            _usage_error(
                "standard input must be JSON with the credentials"
                + (", or an API key alone" if ApiKeyCredentials in _credential_kinds(provider) else "")
            )
        return ApiKeyCredentials(Secret(text))
    try:
        given = msgspec.json.decode(text, type=_GivenCredentials)
    except msgspec.DecodeError as error:
        # The message names a member and never quotes a value.
        _usage_error(f"the JSON on standard input is not as expected: {error}")
    if given.api_key is not None:
        if ApiKeyCredentials not in _credential_kinds(provider):
            _usage_error(f"{provider.title} has no API keys; give an OAuth grant")
        return ApiKeyCredentials(Secret(given.api_key))
    if not given.access_token:
        _usage_error("the JSON on standard input has neither api_key nor access_token")
    if given.refresh_token and not (given.client_id and given.client_secret):
        _usage_error("a refresh_token needs client_id and client_secret")
    expires_at = given.expires_at
    if expires_at is None and given.expires_in is not None:
        expires_at = time.time() + given.expires_in
    return OAuthCredentials(
        Secret(given.access_token or ""),
        Secret(given.refresh_token) if given.refresh_token else None,
        expires_at,
        given.client_id,
        Secret(given.client_secret),
        given.redirect_uri,
    )


def _usage_error(message: str) -> NoReturn:
    context.print_error(message)
    raise typer.Exit(2)
