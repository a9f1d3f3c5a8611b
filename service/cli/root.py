"""Puts the commands together, and prints the failures that people can put right."""

import sys

import typer
from rich.console import Console

from service.cli import app, connection, db, doctor, keygen, sandbox, serve, update_step
from service.cli.demo import command as demo
from service.connections import KeyringError, SchemaMismatch, StoreUnavailable
from service.connections.applications import ApplicationError
from service.domain.errors import UpdateFailed
from service.providers import supported

cli = typer.Typer(
    name="seqstep",
    help=f"Changes one step of a customer's sequence at {' or '.join(provider.title for provider in supported())}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.add_typer(app.cli, name="app")
cli.add_typer(connection.cli, name="connection")
cli.add_typer(db.cli, name="db")
cli.command("keygen")(keygen.keygen)
cli.command("serve")(serve.serve)
cli.command("sandbox")(sandbox.sandbox)
cli.command("update-step", epilog=update_step.EPILOG)(update_step.update_step)
cli.command("demo")(demo.demo)
cli.command("doctor")(doctor.doctor)


def main() -> None:
    """Runs the command line; what people can put right is one line and exit status 1, and no traceback."""
    try:
        cli()
    except (ApplicationError, KeyringError, SchemaMismatch, StoreUnavailable, UpdateFailed) as failure:
        Console(stderr=True, soft_wrap=True).print(f"seqstep: {failure}", style="red", highlight=False, markup=False)
        sys.exit(1)
