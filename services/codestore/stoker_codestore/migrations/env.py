"""Runs the migrations on the connection that it is given, one process at a time."""

from alembic import context
from sqlalchemy import Connection, text
from stoker_codestore.tables import Base

LOCK = 0x73746F6B6572  # "stoker" as a number: what processes that start together queue for

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata)
with context.begin_transaction():
    if connection.dialect.name == "postgresql":
        # SQLite needs none: its transactions that write run one after the other.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    context.run_migrations()
