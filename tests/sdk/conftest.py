"""What the tests of the SDK and the command line share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stoker
from stoker.cli.app import app
from typer.testing import CliRunner

from tests.sdk.peer import ADMIN_KEY, API_KEY, Peer, running_peer


@pytest.fixture
def peer() -> Iterator[Peer]:
    with running_peer() as peer:
        yield peer


@pytest.fixture
def client(peer: Peer) -> Iterator[stoker.Client]:
    with stoker.Client(peer.address, api_key=API_KEY, admin_key=ADMIN_KEY) as client:
        yield client


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with a function."""
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "main.py").write_text("def handler(event, context):\n    return event\n")
    return directory


@pytest.fixture
def run(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command line against the peer, in an empty directory, with nothing configured but this."""
    for name, value in {
        "STOKER_ENDPOINT": peer.address,
        "STOKER_API_KEY": API_KEY,
        "STOKER_ADMIN_KEY": ADMIN_KEY,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STOKER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | bytes | None = None) -> Any:
        return CliRunner().invoke(app, arguments, input=stdin)

    return run
