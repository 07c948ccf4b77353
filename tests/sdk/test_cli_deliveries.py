"""How a version's way to hosts is shown."""

from collections.abc import Iterator

import pytest
from rich.console import Console
from stoker.cli.delivery_drawing import drawn, plain_lines, show
from stoker.deliveries import Delivery, DeliveryState, HostDelivery
from stoker.errors import DeadlineExceeded, StokerError, Unavailable, Unimplemented

MIB = 1024 * 1024


def host(
    name: str,
    state: DeliveryState,
    *,
    source: str = "",
    lacking_bytes: int = 0,
    fetched_bytes: int = 0,
    message: str = "",
) -> HostDelivery:
    return HostDelivery(name, state, source, lacking_bytes, fetched_bytes, message)


FETCHING = host("h1", DeliveryState.FETCHING, lacking_bytes=50 * MIB, fetched_bytes=25 * MIB)
DONE = host("h1", DeliveryState.DELIVERED, lacking_bytes=50 * MIB, fetched_bytes=50 * MIB)
OF_PEER = host("h2", DeliveryState.DELIVERED, source="h1", lacking_bytes=50 * MIB, fetched_bytes=50 * MIB)
WAITING = host("h2", DeliveryState.WAITING)
FAILED = host("h3", DeliveryState.FAILED, message="the disk is full")
HAD_IT = host("h4", DeliveryState.DELIVERED)


def text_of(delivery: Delivery) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(drawn(delivery))
    return captured.get()


def test_without_a_terminal_each_host_is_told_once() -> None:
    told = [
        Delivery([FETCHING, WAITING], False),
        Delivery([DONE, WAITING], False),
        Delivery([DONE, OF_PEER, FAILED, HAD_IT], True),
    ]
    assert list(plain_lines(told)) == [
        "h1: delivered (50.0 MiB from the codestore)",
        "h2: delivered (50.0 MiB from h1)",
        "h3: not delivered, it fetches the code when it needs it (the disk is full)",
        "h4: delivered (nothing was lacking)",
    ]


def test_on_a_terminal_each_host_has_a_bar() -> None:
    first, second = text_of(Delivery([FETCHING, WAITING], False)).splitlines()
    assert first.startswith("█" * 10 + "·" * 10 + "  h1: fetching 25.0 MiB of 50.0 MiB from the codestore")
    assert second.startswith("·" * 20 + "  h2: waiting")


def test_of_many_hosts_the_rest_are_counted() -> None:
    hosts = [host(f"h{number}", DeliveryState.DELIVERED) for number in range(25)]
    assert "and 5 other hosts, of which 5 have it" in text_of(Delivery(hosts, True))
    assert text_of(Delivery([], True)).strip() == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DeadlineExceeded("DEADLINE", "too late"), "the code is still on its way"),
        (Unavailable("AWAY", "nobody answers"), "how its code reaches hosts cannot be told: nobody answers"),
        (Unimplemented("UNIMPLEMENTED", "unknown"), ""),
    ],
)
def test_a_published_version_stays_published_whatever_comes_of_watching(
    error: StokerError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def deliveries() -> Iterator[Delivery]:
        yield Delivery([FETCHING], False)
        raise error

    show(deliveries())
    assert capsys.readouterr().err.startswith(line)
