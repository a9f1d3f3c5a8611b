"""Puts the commands together, and prints the failures that people can put right."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from service.cli.errors import print_error
from service.process_exit import EXIT_CONFIGURATION, exit_process

COMMANDS: Final = {
    "app": "The applications that may call, and their keys.",
    "connection": "Customers' credentials at providers.",
    "db": "The database's schema.",
    "keygen": "Make a key for SEQSTEP_ENCRYPTION_KEYS.",
    "serve": "Serve until SIGTERM or Ctrl-C, with the settings of the environment; docs/settings.md lists them.",
    "sandbox": "Run stand-ins for the providers on this machine until Ctrl-C; nothing reaches the real ones.",
    "steps": "List the steps of a sequence, with their ids, templates and subjects.",
    "show": "Show one step: its variants with their texts, the provider's own fields, and its etag.",
    "history": "List what updates changed, newest first; `seqstep revert` takes a change back.",
    "revert": "Set what a change replaced back to what it was before, unless it was changed since.",
    "update-step": "Change the subject, the body or the provider's own fields of one step of one sequence.",
    "demo": "Change a step at each provider through a real service in front of a sandbox, and show what happened.",
    "doctor": "Check settings, database, keys, ports and providers; the exit status is 1 if something is wrong.",
}
"""The name of each command, whose module has that name, and the first line of its help."""


def load_command(name: str) -> Any:
    """Loads the command of a name, or the group of commands.

    Raises:
        typer.Exit: It needs a package that is not installed; it is printed which.
    """
    try:
        module = importlib.import_module(f"service.cli.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        print_error(f"{name} needs {error.name}; install seqstep[sandbox]")
        raise typer.Exit(1) from None
    module.cli.rich_markup_mode = None
    return typer.main.get_command(module.cli)


class _Command(TyperCommand):
    """A command whose module is loaded when it is run, or its own help is asked for."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return load_command(str(self.name)).make_context(info_name, args, parent, **extra)


class _Commands(TyperGroup):
    """The commands. Each loads only what it needs, since the database, gRPC and HTTP take long to load."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, summary in COMMANDS.items():
            self.add_command(_Command(name, short_help=summary))


cli = typer.Typer(
    cls=_Commands,
    name="seqstep",
    help="Changes one step of a customer's sequence at its sales-engagement provider.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help in plain text: Rich takes longer to load than everything else that help needs.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # noqa: PLC0415  # slow to load

        typer.echo(f"seqstep {metadata.version('seqstep')}")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Takes the options that stand before a command."""


def main() -> NoReturn:
    """Runs the command line and ends the process."""
    # gRPC's library writes lines of its own to standard error. It reads this when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    exit_process(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit status.

    A failure that people can put right is printed in one line, and the exit status is 1; where it is a setting that has to be
    changed, `EXIT_CONFIGURATION`.
    """
    status: object = 0
    try:
        cli(arguments, prog_name="seqstep")
    except SystemExit as end:
        status = end.code
    except _failures() as failure:
        print_error(str(failure))
        status = EXIT_CONFIGURATION if _is_of_settings(failure) else 1
    return status if isinstance(status, int) else int(status is not None)


def _failures() -> tuple[type[Exception], ...]:
    """What people can put right; loaded only when something has failed."""
    from service.connections import KeyringError, SchemaMismatch, StoreUnavailable  # noqa: PLC0415
    from service.connections.applications import ApplicationError  # noqa: PLC0415
    from service.domain.errors import UpdateFailed  # noqa: PLC0415

    return ApplicationError, KeyringError, SchemaMismatch, StoreUnavailable, UpdateFailed


def _is_of_settings(failure: Exception) -> bool:
    from service.connections import KeyringError, StoreMisconfigured  # noqa: PLC0415

    return isinstance(failure, KeyringError | StoreMisconfigured)
