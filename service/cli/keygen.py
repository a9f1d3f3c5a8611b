"""`seqstep keygen`: makes an encryption key."""

import typer

from service.connections.encryption import generate_key

cli = typer.Typer(add_completion=False)


@cli.command()
def keygen() -> None:
    """Make a key for SEQSTEP_ENCRYPTION_KEYS.

    Put a new key before the old ones, restart the service, and run `seqstep connection reencrypt`; then the old ones can go.
    """
    typer.echo(generate_key())
