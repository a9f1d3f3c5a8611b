"""`seqstep keygen`: makes an encryption key."""

import typer

from service.connections.encryption import generate_key

cli = typer.Typer(add_completion=False)


@cli.command()
def keygen() -> None:
    """Make a key for SEQSTEP_ENCRYPTION_KEYS.

    To replace a key while several replicas run: add the new one after the old one and restart all; put it first and restart
    all; run `seqstep connection reencrypt`; remove the old one and restart all. docs/operations.md says why in this order.
    """
    typer.echo(generate_key())
