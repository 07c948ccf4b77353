"""What is done to a codestore's SQLite database beside the codestore."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path


async def execute(database: Path, *statements: str) -> None:
    """Executes statements in one transaction, while the codestore's own go on: it may run in this event loop."""

    def in_a_thread() -> None:
        with closing(sqlite3.connect(database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    await asyncio.to_thread(in_a_thread)
