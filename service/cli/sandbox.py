"""`seqstep sandbox`: runs the stand-ins for the providers."""

from typing import Annotated

import typer

from service.cli.errors import print_error

cli = typer.Typer(add_completion=False)


@cli.command()
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 picks a free one.")] = 8090,
) -> None:
    """Run stand-ins for the providers on this machine until Ctrl-C; nothing reaches the real ones."""
    try:
        from sandbox.server import main  # noqa: PLC0415  # slow to load
    except ModuleNotFoundError as error:
        print_error(f"the sandbox needs {error.name}; install seqstep[sandbox]")
        raise typer.Exit(1) from None
    try:
        main("127.0.0.1", port)
    except OSError as error:
        print_error(f"cannot listen on 127.0.0.1:{port}: {error.strerror}; another --port may be free")
        raise typer.Exit(1) from None
