"""Bringing a database up to the schema that this version works with."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from service.connections.store import Store


def configuration() -> Config:
    """Alembic's settings, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


async def upgrade(store: Store) -> None:
    """Runs the migrations that the database has not seen.

    Raises:
        StoreUnavailable: The database cannot be reached.
    """

    def run(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with store.begin() as connection:
        await connection.run_sync(run)
