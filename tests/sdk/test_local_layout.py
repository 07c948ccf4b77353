"""Where a Stoker on this machine keeps its files and answers."""

import itertools
import os
from pathlib import Path

import pytest
from stoker.errors import StokerError
from stoker.local import homes
from stoker.local.keys import ensure_admin_key
from stoker.local.layout import SERVICES, Layout, given_environment, host_id, service_environment
from stoker.local.privileges import Privileges
from stoker.local.processes import identify, remember


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "home", "127.0.0.1", 9000, "host-a")


def prepare(layout: Layout) -> None:
    homes.prepare(layout, Privileges(print))


def test_two_homes_on_other_ports_share_nothing(tmp_path: Path) -> None:
    one, other = (Layout(tmp_path / str(port), "127.0.0.1", port, host_id("m", port)) for port in (9000, 9004))
    values = [set(service_environment(each, service, {}).values()) for each in (one, other) for service in SERVICES]
    for first, second in itertools.product(values[:4], values[4:]):
        assert not first & second


def test_a_service_may_be_told_otherwise_but_not_where_to_listen(layout: Layout) -> None:
    given = {"STOKER_CODESTORE_DATABASE_URL": "postgresql+asyncpg://db", "STOKER_CODESTORE_LISTEN_ADDRESS": "x:1"}
    environment = service_environment(layout, "codestore", given)
    assert environment["STOKER_CODESTORE_DATABASE_URL"] == "postgresql+asyncpg://db"
    assert environment["STOKER_CODESTORE_LISTEN_ADDRESS"] == "127.0.0.1:9002"


def test_a_service_gets_only_what_is_meant_for_it() -> None:
    everything = {
        "STOKER_API_KEY": "k",
        "STOKER_SCHEDULER_X": "1",
        "STOKER_FRONTEND_X": "2",
        "OTEL_A": "3",
        "HOME": "/",
    }
    assert given_environment("scheduler", everything) == {"STOKER_SCHEDULER_X": "1", "OTEL_A": "3"}


@pytest.mark.parametrize(
    ("name", "port", "expected"),
    [("Big.Box", 7400, "big-box"), ("box", 7410, "box-7410"), ("x" * 80, 7410, "x" * 58 + "-7410"), ("", 7400, "host")],
)
def test_a_host_id_is_made_of_name_and_port(name: str, port: int, expected: str) -> None:
    assert host_id(name, port) == expected


def test_a_layout_is_remembered(layout: Layout) -> None:
    prepare(layout)
    assert homes.recorded_layout(layout.home) == layout
    assert homes.choose_layout(layout.home, None, None) == layout
    assert homes.choose_layout(layout.home, None, 9100) == Layout(layout.home, "127.0.0.1", 9100, "host-a")


def test_ports_do_not_change_under_a_running_stoker(layout: Layout) -> None:
    prepare(layout)
    this = identify(os.getpid())
    assert this is not None
    remember(layout.process_file("scheduler"), this)
    with pytest.raises(StokerError, match="stoker down --home"):
        homes.choose_layout(layout.home, None, 9100)


def test_two_commands_do_not_change_one_home_at_once(layout: Layout) -> None:
    prepare(layout)
    with homes.locked(layout), pytest.raises(StokerError, match="another `stoker up` or `down`"), homes.locked(layout):
        pass


def test_a_home_that_cannot_be_made_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StokerError, match="choose another by `--home`"):
        prepare(Layout(tmp_path / "file" / "home", "127.0.0.1", 9000, "h"))


def test_the_admin_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "admin.key"
    key = ensure_admin_key(file)
    assert ensure_admin_key(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    assert [len(part) for part in key.split(".")] == [3, 16, 43]


def test_purging_deletes_everything(layout: Layout) -> None:
    prepare(layout)
    homes.purge(layout, Privileges(print))
    assert not layout.home.exists()
