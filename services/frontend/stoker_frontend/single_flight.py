"""Loads of what a cache lacks: one at a time for each key, however many wait for it.

A load that was begun before its key changed must not fill the cache afterwards: the change overtakes it. Those who
already waited get its value, as they asked before the change; those who come later begin another.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from stoker_service.background import Background

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(eq=False, slots=True)
class _Flight(Generic[Value]):
    landed: asyncio.Future[Value]
    is_overtaken: bool = False


class SingleFlight(Generic[Key, Value]):
    """The loads under way."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._flights: dict[Key, _Flight[Value]] = {}

    async def load(self, key: Key, load: Callable[[], Awaitable[Value]], keep: Callable[[Value], None]) -> Value:
        """Returns the value of `key`, of the load under way or of a new one.

        A caller that is cancelled leaves the load to the others.

        Args:
            key: What is loaded.
            load: Loads it; must be bounded in time.
            keep: Puts the value into the cache; not called when a change has overtaken the load.

        Raises:
            Exception: Whatever `load` raises.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_future())
            # Nobody may be waiting any more when a load fails; that is no fault.
            flight.landed.add_done_callback(lambda landed: landed.cancelled() or landed.exception())
            flying = self._background.start(self._fly(key, flight, load, keep), f"load {key}")
            # However it ends, even before it has begun, nobody may wait for it any more.
            flying.add_done_callback(lambda _: self._end(key, flight))
        return await asyncio.shield(flight.landed)

    def overtake(self, is_changed: Callable[[Key], bool]) -> None:
        """Says that the values of some keys have changed: loads of them that are under way come too late."""
        for key in [key for key in self._flights if is_changed(key)]:
            self._flights.pop(key).is_overtaken = True

    async def _fly(
        self, key: Key, flight: _Flight[Value], load: Callable[[], Awaitable[Value]], keep: Callable[[Value], None]
    ) -> None:
        try:
            value = await load()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
            flight.landed.set_exception(error)
        else:
            if not flight.is_overtaken:
                keep(value)
            flight.landed.set_result(value)

    def _end(self, key: Key, flight: _Flight[Value]) -> None:
        flight.landed.cancel()
        if self._flights.get(key) is flight:
            del self._flights[key]
