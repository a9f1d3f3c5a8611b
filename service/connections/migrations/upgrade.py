"""Upgrades a database to the schema that this version works with."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection as DatabaseConnection

from service.connections.schema import REVISION
from service.connections.store import Store

# A lock until the end of the transaction. SQLite begins none by itself before a table is made.
_LOCKS: Final = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(7356983571)",
}


def configuration() -> Config:
    """Makes Alembic's settings, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


async def upgrade(store: Store) -> None:
    """Runs the migrations that the database has not seen, all or none of them.

    Several processes may do it at once: one does, and the others wait for it.

    Raises:
        StoreUnavailable: The database cannot be reached.
        SchemaMismatch: A newer version has made it.
    """
    before = await store.revision()
    if before is not None and before > REVISION:
        await store.check_schema()

    def run(db: DatabaseConnection) -> None:
        db.exec_driver_sql(_LOCKS[db.dialect.name])
        config = configuration()
        config.attributes["connection"] = db
        command.upgrade(config, "head")

    async with store.begin() as db:
        await db.run_sync(run)
