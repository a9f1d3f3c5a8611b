"""`seqstep serve`: runs the service."""

import typer

from service.cli import context

cli = typer.Typer(add_completion=False)


@cli.command()
def serve() -> None:
    """Serve until SIGTERM or Ctrl-C, with the settings of the environment; docs/settings.md lists them."""
    from service import workers  # noqa: PLC0415  # slow to load

    raise typer.Exit(workers.serve(context.load_settings()))
