"""`seqstep connection`: stores, lists, checks and deletes customers' credentials at providers.

Either in the database that the settings name, or, given an address, by a service's `ConnectionService`.
"""

import getpass
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from service.cli import context, options, output
from service.cli.credentials import (
    parse_credentials,
    read_client_secret,
    read_from_terminal,
    usage_error,
)
from service.cli.errors import print_error
from service.cli.store import open_store, run
from service.connections import (
    Applications,
    ClientSecretChange,
    ConnectionAdministration,
    Keyring,
    SeveralClients,
)
from service.domain.credentials import ConnectionSummary
from service.domain.deadline import Deadline
from service.domain.errors import Problem, UpdateFailed
from service.domain.outcome import stated
from service.domain.step import Provider
from service.history import HistoryAdministration
from service.providers import credential_kinds, providers

if TYPE_CHECKING:
    from service.cli import connection_calls

cli = typer.Typer(help="Customers' credentials at providers.", no_args_is_help=True, add_completion=False)

App = Annotated[
    str | None,
    typer.Option(
        "--app",
        help="The application that owns the connection, in the database of the settings; with an address, the key says it.",
        show_default=False,
    ),
]
OneApp = Annotated[str, typer.Option("--app", help="The application that owns the connections.", show_default=False)]
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


@cli.callback()
def choose(
    ctx: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(envvar="SEQSTEP_ADDRESS", help="A service to do it by, as HOST:PORT, where no --app is named."),
    ] = None,
    api_key_file: options.ApiKeyFile = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    tls: options.UseTls = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
) -> None:
    """Store, try and delete customers' credentials at providers.

    In the database of the settings with --app, or by a service with --address, for the application whose key that is; it has
    to be one that may manage connections.
    """

    def service() -> "connection_calls.ServiceOptions":
        from service.cli import connection_calls, grpc_call  # noqa: PLC0415  # gRPC is slow to load

        if address is None:
            usage_error("give --app for the database of the settings, or `seqstep connection --address` for a service")
        return connection_calls.ServiceOptions(
            address=address,
            api_key=options.read_api_key(api_key_file, needed=tls_cert is None),
            tls=grpc_call.tls_options(address, tls=tls, ca=tls_ca, certificate=tls_cert, key=tls_key),
            timeout=timeout,
        )

    source = ctx.get_parameter_source("address")
    is_named = source is not None and source.name == "COMMANDLINE"
    ctx.obj = _Where(service, is_named=is_named, has_address=address is not None)


@dataclass(frozen=True, slots=True)
class _Where:
    """Where a command is carried out.

    Attributes:
        service: Reads the options of a call.
        is_named: Whether the command line names an address, and not the environment.
        has_address: Whether there is one.
    """

    service: "Callable[[], connection_calls.ServiceOptions]"
    is_named: bool
    has_address: bool

    def find(self, app: str | None) -> "connection_calls.ServiceOptions | None":
        """The options of a call; None for the database, in which `app` owns the connections."""
        if app is None:
            return self.service()
        if self.is_named:
            usage_error("--app is for the database of the settings; a service knows the application by its key")
        return None


@asynccontextmanager
async def _connections() -> AsyncIterator[tuple[Applications, ConnectionAdministration]]:
    async with open_store() as store:
        keyring = Keyring.parse(context.load_settings().encryption_keys.get_secret_value())
        yield Applications(store, 0), ConnectionAdministration(store, keyring)


@cli.command("set")
def set_(ctx: typer.Context, customer: Customer, provider: ProviderOption, app: App = None) -> None:
    """Store a customer's credentials, in the place of any earlier ones.

    On a terminal they are asked for and not shown. Otherwise they are read from standard input: an API key in a line, or
    JSON with api_key, or with access_token, refresh_token, expires_in or expires_at (Unix seconds), client_id, client_secret,
    redirect_uri and scope.
    """
    if not credential_kinds(provider):
        usage_error(f"{provider.title} cannot change a single step, so there is no use for a connection to it")
    _check_customer(customer)
    service = ctx.obj.find(app)
    credentials = read_from_terminal(provider) if sys.stdin.isatty() else parse_credentials(provider, sys.stdin.read())
    if service is not None:
        from service.cli import connection_calls  # noqa: PLC0415  # gRPC is slow to load

        changed = connection_calls.set_connection(service, customer, provider, credentials)
        done = "set" if changed else "was set with the same credentials before, and left as it is"
        typer.echo(f"connection of {customer} to {provider.title} {done}; `seqstep connection check` tries it")
        return

    async def main() -> bool:
        async with _connections() as (applications, connections):
            application = await applications.find(str(app))
            return await connections.set(application.id, customer, provider, credentials)

    verb = "replaced" if run(main) else "made"
    typer.echo(f"connection of {customer} to {provider.title} {verb}; `seqstep connection check` tries it")


@cli.command("list")
def list_(
    ctx: typer.Context,
    app: Annotated[str | None, typer.Option("--app", help="Only those of this application.")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Only those of this customer.")] = None,
    as_json: Json = False,
) -> None:
    """List connections, without their credentials; by a service if it has an address and no --app is named."""
    if app is None and ctx.obj.has_address:
        from service.cli import connection_calls  # noqa: PLC0415  # gRPC is slow to load

        found = connection_calls.list_connections(ctx.obj.find(app), customer)
        connection_calls.print_connections(found, as_json=as_json)
        return
    _print_connections(app, customer, None, as_json=as_json)


@cli.command()
def show(
    ctx: typer.Context, customer: Customer, provider: ProviderOption, app: App = None, as_json: Json = False
) -> None:
    """Show one connection, without its credentials."""
    service = ctx.obj.find(app)
    if service is not None:
        from service.cli import connection_calls  # noqa: PLC0415  # gRPC is slow to load

        found = connection_calls.get_connection(service, customer, provider)
        connection_calls.print_connections([found], as_json=as_json)
        return
    if not _print_connections(app, customer, provider, as_json=as_json):
        print_error(f"{customer} has no connection to {provider.title} in {app}")
        raise typer.Exit(1)


@cli.command()
def check(ctx: typer.Context, customer: Customer, provider: ProviderOption, app: App = None) -> None:
    """Try a connection by one cheap read at the provider, and say what is wrong; exit status 1 if it does not work.

    A connection that is marked needs_reauth is tried by a renewal of its token first, and is active again if that succeeds.
    """
    service = ctx.obj.find(app)
    if service is not None:
        from service.cli import connection_calls  # noqa: PLC0415  # gRPC is slow to load

        wrong = connection_calls.check_connection(service, customer, provider)
    else:
        with Console(stderr=True).status(f"Asking {provider.title} …"):
            wrong = _check_here(str(app), customer, provider)
    for each in wrong:
        print_error(each)
    if wrong:
        raise typer.Exit(1)
    typer.echo(f"connection of {customer} to {provider.title} works")


def _check_here(app: str, customer: str, provider: Provider) -> list[str]:
    """Tries a connection of the database; returns what is wrong with it."""
    from service import app as composition  # noqa: PLC0415  # gRPC and HTTP are slow to load
    from service.upstream.connection_check import check_connection  # noqa: PLC0415

    async def main() -> tuple[Problem, ...]:
        deadline = Deadline.after(_CHECK_SECONDS)
        async with (
            open_store() as store,
            composition.provider_access(context.load_settings(), store) as (connections, sessions),
        ):
            application = await Applications(store, 0).find(app)
            try:
                connection = await connections.retried(application.id, customer, provider, deadline)
            except UpdateFailed as failure:
                return failure.problems
            return await check_connection(sessions[provider], connection, connections.renewed, deadline)

    return [stated(problem).detail for problem in run(main)]


@cli.command()
def delete(ctx: typer.Context, customer: Customer, provider: ProviderOption, app: App = None) -> None:
    """Delete a connection with its credentials."""
    service = ctx.obj.find(app)

    async def main() -> bool:
        async with _connections() as (applications, connections):
            application = await applications.find(str(app))
            return await connections.delete(application.id, customer, provider)

    if service is not None:
        from service.cli import connection_calls  # noqa: PLC0415  # gRPC is slow to load

        deleted = connection_calls.delete_connection(service, customer, provider)
    else:
        deleted = run(main)
    if not deleted:
        print_error(f"{customer} has no connection to {provider.title}" + (f" in {app}" if app else ""))
        raise typer.Exit(1)
    typer.echo(f"connection of {customer} to {provider.title} deleted")


@cli.command("set-client-secret")
def set_client_secret(
    app: OneApp,
    provider: ProviderOption,
    client_id: Annotated[
        str | None,
        typer.Option("--client-id", help="The OAuth client; needed if the connections have several."),
    ] = None,
) -> None:
    """Replace the secret of an OAuth client in all connections of an application, while the service runs.

    Tokens stay as they are. The secret is asked for on a terminal and not shown; otherwise it is read from standard input.
    """
    is_asked_for = sys.stdin.isatty()
    secret = read_client_secret(getpass.getpass("Client secret: ") if is_asked_for else sys.stdin.read())

    async def main() -> ClientSecretChange:
        async with _connections() as (applications, connections):
            application = await applications.find(app)
            return await connections.set_client_secret(application.id, provider, client_id, secret)

    try:
        change = run(main)
    except SeveralClients as several:
        usage_error(f"the connections of {app} to {provider.title} have several clients; name one: {several}")
    if change.replaced:
        typer.echo(f"client secret replaced; connections to {provider.title} that have it: {change.replaced}")
    else:
        print_error(f"{app} has no such connection to {provider.title}")
    if change.unreadable:
        print_error(f"{change.unreadable} could not be read and were left alone; add their keys, and repeat this")
    if change.unreadable or not change.replaced:
        raise typer.Exit(1)


@cli.command()
def reencrypt() -> None:
    """Move all credentials, and the history, to the first encryption key, while the service runs; can be stopped and begun again."""

    async def main() -> list[tuple[int, int]]:
        async with open_store() as store:
            keyring = Keyring.parse(context.load_settings().encryption_keys.get_secret_value())
            with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
                return [
                    await _reencrypt(each, progress)
                    for each in (ConnectionAdministration(store, keyring), HistoryAdministration(store, keyring))
                ]

    (moved, left), (changes_moved, changes_left) = run(main)
    typer.echo(f"{moved} moved to the first key")
    if changes_moved or changes_left:
        typer.echo(f"{changes_moved} changes of the history moved to the first key")
    if left:
        print_error(f"{left} could not be read and were left alone; add their keys, or set those connections again")
    if changes_left:
        print_error(f"{changes_left} changes of the history could not be read and were left alone; add their keys")
    if left or changes_left:
        raise typer.Exit(1)


async def _reencrypt(rows: ConnectionAdministration | HistoryAdministration, progress: Progress) -> tuple[int, int]:
    """Moves rows; returns how many were moved, and how many could not be read."""
    moved = left = 0
    total = await rows.count_to_reencrypt()
    what = "Re-encrypting" if isinstance(rows, ConnectionAdministration) else "Re-encrypting the history"
    task = progress.add_task(what, total=total, visible=bool(total) or isinstance(rows, ConnectionAdministration))
    async for now_moved, now_left in rows.reencrypt():
        moved, left = moved + now_moved, left + now_left
        progress.advance(task, now_moved + now_left)
    return moved, left


def _print_connections(app: str | None, customer: str | None, provider: Provider | None, *, as_json: bool) -> bool:
    async def main() -> list[ConnectionSummary]:
        async with _connections() as (applications, connections):
            if app is not None:
                await applications.find(app)
            return await connections.list(app, customer)

    found = [each for each in run(main) if provider in (None, each.provider)]
    if as_json:
        output.print_json(found)
    else:
        output.print_table(
            "Connections",
            ("application", "customer", "provider", "state", "since", "why"),
            [
                (
                    each.application,
                    each.customer_id,
                    each.provider,
                    each.state.value,
                    output.format_time(each.state_since),
                    _why(each),
                )
                for each in found
            ],
        )
    return bool(found)


def _why(summary: ConnectionSummary) -> str:
    if summary.refresh_error is None:
        return summary.state_reason
    since = output.format_time(summary.refresh_error_at)
    return f"{summary.state_reason}; token not renewed since {since}: {summary.refresh_error}"


def _check_customer(customer: str) -> None:
    # What cannot be sent as metadata could never be called for.
    if (
        not 1 <= len(customer) <= 255
        or customer != customer.strip()
        or not (customer.isascii() and customer.isprintable())
    ):
        usage_error("a customer id has 1 to 255 printable ASCII characters, without space around it")
