"""How a version's way to hosts is shown: a line a host, drawn again while it goes on, or plain lines."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from stoker.cli.output import note, size, stderr_console
from stoker.deliveries import Delivery, DeliveryState, HostDelivery
from stoker.errors import DeadlineExceeded, StokerError, Unimplemented

if TYPE_CHECKING:
    from rich.console import RenderableType

BAR = 20
MOST_LINES = 20
"""Of so many hosts a line is drawn; the rest are counted."""
_COLOURS = {
    DeliveryState.WAITING: "dim",
    DeliveryState.FETCHING: "cyan",
    DeliveryState.DELIVERED: "green",
    DeliveryState.FAILED: "red",
}


def show(deliveries: Iterable[Delivery]) -> None:
    """Shows a delivery until it is complete, or whoever watches it has waited long enough."""
    console = stderr_console()
    if not console.is_terminal:
        for line in plain_lines(_patiently(deliveries)):
            note(line)
        return
    from rich.live import Live

    with Live(console=console, refresh_per_second=8, transient=False) as live:
        for delivery in _patiently(deliveries):
            live.update(drawn(delivery))


def plain_lines(deliveries: Iterable[Delivery]) -> Iterator[str]:
    """A line for each host once its delivery has ended."""
    told: set[str] = set()
    for delivery in deliveries:
        for host in delivery.hosts:
            if host.host not in told and host.state in (DeliveryState.DELIVERED, DeliveryState.FAILED):
                told.add(host.host)
                yield _line(host)


def drawn(delivery: Delivery) -> "RenderableType":
    """The picture."""
    from rich.text import Text

    text = Text()
    for host in delivery.hosts[:MOST_LINES]:
        done = _share(host)
        text.append("█" * round(done * BAR), _COLOURS.get(host.state, ""))
        text.append("·" * (BAR - round(done * BAR)), "dim")
        text.append(f"  {_line(host)}\n")
    if others := delivery.hosts[MOST_LINES:]:
        there = sum(host.state is DeliveryState.DELIVERED for host in others)
        text.append(f"and {len(others)} other hosts, of which {there} have it\n")
    text.rstrip()
    return text


def _patiently(deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    try:
        yield from deliveries
    except DeadlineExceeded:
        note("the code is still on its way; hosts that do not have it yet fetch it when they need it")
    except Unimplemented:
        # A server of an earlier version pushes nothing.
        return
    except StokerError as error:
        # The version is published all the same.
        note(f"how its code reaches hosts cannot be told: {error.message}")


def _share(host: HostDelivery) -> float:
    if host.state is DeliveryState.DELIVERED:
        return 1.0
    return min(1.0, host.fetched_bytes / host.lacking_bytes) if host.lacking_bytes else 0.0


def _line(host: HostDelivery) -> str:
    source = f"from {host.source}" if host.source else "from the codestore"
    match host.state:
        case DeliveryState.DELIVERED:
            how = f"{size(host.fetched_bytes)} {source}" if host.fetched_bytes else "nothing was lacking"
            return f"{host.host}: delivered ({how})"
        case DeliveryState.FETCHING:
            how = f"{size(host.fetched_bytes)} of {size(host.lacking_bytes)} " if host.lacking_bytes else ""
            return f"{host.host}: fetching {how}{source}"
        case DeliveryState.FAILED:
            return f"{host.host}: not delivered, it fetches the code when it needs it ({host.message})"
        case _:
            return f"{host.host}: {host.state}"
