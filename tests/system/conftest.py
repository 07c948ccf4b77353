"""One running Stoker for all tests of the whole system."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stoker

from tests.system.running_stoker import ROOT, RunningStoker, running_stoker


@pytest.fixture(scope="session")
def system() -> Iterator[RunningStoker]:
    """A Stoker with real virtual machines, shared by all tests of the session."""
    with running_stoker() as running:
        yield running


@pytest.fixture
def client(system: RunningStoker) -> Iterator[stoker.Client]:
    """A client of the tenant `dev`."""
    with system.client() as client:
        yield client


@pytest.fixture(scope="session")
def hello(system: RunningStoker) -> str:
    """The function of examples/hello, deployed."""
    with system.client() as client:
        client.deploy("hello", ROOT / "examples" / "hello", runtime="python3", handler="main.handler")
    return "hello"


def write_function(directory: Path, source: str, file: str = "main.py") -> Path:
    """Writes a function of one file, to be deployed."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / file).write_text(source)
    return directory
