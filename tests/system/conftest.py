"""One running Stoker for all tests of the whole system."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stoker

from tests.system.running_stoker import ROOT, RunningStoker, running_stoker
from tests.system.trace_collector import Collector, running_collector


@pytest.fixture(scope="session")
def collected() -> Iterator[tuple[Collector, str]]:
    """A collector of traces and its address."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="session")
def collector(collected: tuple[Collector, str]) -> Collector:
    """What the services' traces are sent to."""
    return collected[0]


@pytest.fixture(scope="session")
def system(collected: tuple[Collector, str]) -> Iterator[RunningStoker]:
    """A Stoker with real virtual machines, shared by all tests of the session."""
    tracing = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collected[1]}",
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        # Only what a caller traces is recorded.
        "OTEL_TRACES_SAMPLER_ARG": "0",
    }
    with running_stoker(tracing) as running:
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
