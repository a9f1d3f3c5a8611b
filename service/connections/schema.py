"""Defines the tables, the same on SQLite and PostgreSQL. A change here needs a migration in `migrations/versions`."""

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
)

REVISION: Final = "0006"
"""The migration that makes the tables as they are here; a test compares the two."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Times are Unix times in seconds.

applications = Table(
    "applications",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("disabled_at", Double),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("application_id", ForeignKey("applications.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("prefix", String(32), nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    # Whether its calls may set and delete the application's connections.
    Column("may_manage", Boolean, nullable=False, server_default=false()),
)

certificates = Table(
    "certificates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("application_id", ForeignKey("applications.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("identity", String(255), nullable=False, unique=True),
    Column("may_manage", Boolean, nullable=False, server_default=false()),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("application_id", ForeignKey("applications.id", ondelete="CASCADE"), nullable=False),
    Column("customer_id", String(255), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("key_id", String(16), nullable=False),
    # Grows with every change of the credentials, so that nobody replaces newer ones with older ones.
    Column("revision", Integer, nullable=False),
    Column("state", String(32), nullable=False),
    Column("state_reason", String(1000), nullable=False),
    Column("state_since", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    # The OAuth error with which the token endpoint last refused to renew the token, and when; empty after a success.
    Column("refresh_error", String(64)),
    Column("refresh_error_at", Double),
    # When the provider last took the credentials, and when and with which error it last refused them.
    Column("last_success_at", Double),
    Column("last_failure_at", Double),
    Column("last_failure_code", String(64)),
    # Who renews the token at present, and until when nobody else may.
    Column("lease_owner", String(64)),
    Column("lease_until", Double),
    # Of the credentials that a caller set last, which stays when a token is renewed.
    Column("set_digest", LargeBinary),
    UniqueConstraint("application_id", "customer_id", "provider"),
    Index(None, "key_id"),
    # What is remembered about a connection is remembered by its id, so that no later one may have the same.
    sqlite_autoincrement=True,
)

step_changes = Table(
    "step_changes",
    metadata,
    # A UUID (version 7): its order is that of time, so that no column has the time.
    Column("id", LargeBinary, primary_key=True),
    Column("application_id", ForeignKey("applications.id", ondelete="CASCADE"), nullable=False),
    Column("customer_id", String(255), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("sequence_id", String(255), nullable=False),
    Column("sequence_step_id", String(255), nullable=False),
    Column("template_id", String(255), nullable=False),
    Column("request_id", String(255), nullable=False),
    Column("reverts", LargeBinary),
    Column("state", String(32), nullable=False),
    # The values before and after, of all fields together.
    Column("ciphertext", LargeBinary, nullable=False),
    Column("key_id", String(16), nullable=False),
    # Each serves one filter of a list, and has the rest of what a page is chosen by.
    Index("ix_step_changes_customer", "application_id", "customer_id", "provider", "id"),
    Index("ix_step_changes_sequence", "application_id", "customer_id", "provider", "sequence_id", "id"),
    Index("ix_step_changes_step", "application_id", "customer_id", "provider", "sequence_id", "sequence_step_id", "id"),
    Index("ix_step_changes_request", "application_id", "customer_id", "provider", "request_id", "id"),
    Index("ix_step_changes_key_id", "key_id", "id"),
)
