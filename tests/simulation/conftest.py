"""Simulations say nothing while they run: their logs would be most of their work."""

from collections.abc import Generator

import pytest

from tests.simulation.logs import quiet_logs


@pytest.fixture(autouse=True)
def no_logs() -> Generator[None]:
    """Keeps the services silent."""
    with quiet_logs():
        yield
