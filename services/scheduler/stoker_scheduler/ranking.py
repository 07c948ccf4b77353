"""Things in order of their room, so that the tightest one that still fits is found without looking at the others."""

from bisect import bisect_left, insort
from collections.abc import Iterator


class Rankings:
    """Orders of ids by size, each known by a key. A key without entries takes no memory.

    An order is a sorted list: searching is logarithmic, and adding moves 8 bytes an entry, which for 20,000 entries is
    a few microseconds.
    """

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: dict[tuple[str, ...], list[tuple[int, str]]] = {}

    def add(self, key: tuple[str, ...], size: int, id_: str) -> None:
        """Adds an id to the order of `key`."""
        insort(self._orders.setdefault(key, []), (size, id_))

    def remove(self, key: tuple[str, ...], size: int, id_: str) -> None:
        """Removes an id that was added with this size.

        Raises:
            KeyError: It was not.
        """
        order = self._orders[key]
        at = bisect_left(order, (size, id_))
        if at == len(order) or order[at] != (size, id_):
            raise KeyError(id_)
        del order[at]
        if not order:
            del self._orders[key]

    def tightest(self, key: tuple[str, ...], size: int) -> str | None:
        """The id of the least size that is at least `size`, by id among equals; None where there is none."""
        order = self._orders.get(key)
        if order is None:
            return None
        at = bisect_left(order, (size, ""))
        return order[at][1] if at < len(order) else None

    def first(self, key: tuple[str, ...]) -> str | None:
        """The id of the least size, by id among equals; None where there is none."""
        order = self._orders.get(key)
        return order[0][1] if order else None

    def largest(self, key: tuple[str, ...]) -> int | None:
        """The greatest size; None where there is none."""
        order = self._orders.get(key)
        return order[-1][0] if order else None

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], int, str]]:
        """All entries: key, size and id."""
        for key, order in self._orders.items():
            for size, id_ in order:
                yield key, size, id_
