"""What holds for all tests of the frontend."""

import logging
from collections.abc import Generator

import pytest

POOL = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"


@pytest.fixture(autouse=True)
def nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    """No test ends with an error that asyncio or gRPC could only log, as of a task that nobody owns."""
    yield
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    # Of the real codestore that some tests have in this process: SQLAlchemy throws away the connection that a handler
    # held when it was cancelled, and says so.
    told = [record for record in records if record.levelno >= logging.ERROR and record.name != POOL]
    assert [record.getMessage() for record in told] == []
