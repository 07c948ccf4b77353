"""What tests of several components share."""

import gc
from collections.abc import Generator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.postgresql import PostgreSql, running_postgresql

# How long an example takes says more about the machine than about the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end; to look for garbage in it takes a sixth of all the time."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def short_logs() -> None:
    """A line for each event, where pytest shows what a failed test has logged."""
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.KeyValueRenderer()])


@pytest.fixture(scope="session")
def postgresql() -> Generator[PostgreSql]:
    """A PostgreSQL server, started when a test first asks for it; each takes a database of its own."""
    with running_postgresql() as server:
        yield server
