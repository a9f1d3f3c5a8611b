"""`seqstep db`: upgrades and shows the schema of the database."""

import typer

from service.cli import context
from service.cli.store import run
from service.connections import SchemaMismatch, Store
from service.connections.schema import REVISION

cli = typer.Typer(help="The database's schema.", no_args_is_help=True, add_completion=False)


@cli.command()
def upgrade() -> None:
    """Bring the database up to the schema of this version; safe to repeat."""
    from service.connections.migrations.upgrade import upgrade as migrate  # noqa: PLC0415  # Alembic is slow to load

    async def main() -> tuple[str | None, str | None]:
        store = Store.open(context.load_settings().database_url.get_secret_value())
        try:
            before = await store.revision()
            await migrate(store)
            return before, await store.revision()
        finally:
            await store.close()

    before, after = run(main)
    typer.echo(f"schema {after}, as it was" if before == after else f"schema {before or 'none'} -> {after}")


@cli.command()
def status() -> None:
    """Show the schema of the database and the one that this version works with; exit status 1 if they differ."""

    async def main() -> tuple[str | None, str]:
        store = Store.open(context.load_settings().database_url.get_secret_value(), create=False)
        try:
            await store.check_schema()
            return await store.revision(), "up to date"
        except SchemaMismatch as mismatch:
            return await store.revision(), str(mismatch)
        finally:
            await store.close()

    found, verdict = run(main)
    typer.echo(f"database {found or 'none'}, this version {REVISION}: {verdict}")
    raise typer.Exit(found != REVISION)
