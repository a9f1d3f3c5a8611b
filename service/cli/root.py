"""Puts the commands together, and prints the failures that people can put right."""

from typing import NoReturn

import typer

from service.cli import app, connection, context, db, doctor, keygen, sandbox, serve, update_step
from service.cli.demo import command as demo
from service.connections import KeyringError, SchemaMismatch, StoreUnavailable
from service.connections.applications import ApplicationError
from service.domain.errors import UpdateFailed
from service.process_exit import exit_process
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


def main() -> NoReturn:
    """Runs the command line and ends the process.

    A failure that people can put right is printed in one line, and the exit status is 1.
    """
    status: object = 0
    try:
        cli()
    except SystemExit as end:
        status = end.code
    except (ApplicationError, KeyringError, SchemaMismatch, StoreUnavailable, UpdateFailed) as failure:
        context.print_error(str(failure))
        status = 1
    exit_process(status if isinstance(status, int) else int(status is not None))
