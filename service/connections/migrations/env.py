"""Runs the migrations for an Alembic command, over the connection that it is given."""

from alembic import context

from service.connections.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
with context.begin_transaction():
    context.run_migrations()
