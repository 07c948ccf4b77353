"""What tests of several components share."""

from collections.abc import Generator

import pytest

from tests.postgresql import PostgreSql, running_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Generator[PostgreSql]:
    """A PostgreSQL server, started when a test first asks for it; each takes a database of its own."""
    with running_postgresql() as server:
        yield server
