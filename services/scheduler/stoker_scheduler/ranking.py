"""Things in order of their room, so that the tightest one that still fits is found without looking at the others."""

from bisect import bisect_left, insort
from collections.abc import Iterator


class Rankings:
    """Orders of ids by size, each known by a key. A key without entries takes no memory.

    An order is a few sorted lists, one for each group that its entries are in: searching is logarithmic, and adding
    moves 8 bytes an entry, which for 20,000 entries is a few microseconds. A group is a set of bits: what its entries
    have.
    """

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: dict[tuple[str, ...], dict[int, list[tuple[int, str]]]] = {}

    def add(self, key: tuple[str, ...], size: int, id_: str, group: int = 0) -> None:
        """Adds an id to the order of `key`."""
        insort(self._orders.setdefault(key, {}).setdefault(group, []), (size, id_))

    def remove(self, key: tuple[str, ...], size: int, id_: str, group: int = 0) -> None:
        """Removes an id that was added with this size, in this group.

        Raises:
            KeyError: It was not.
        """
        groups = self._orders[key]
        order = groups[group]
        at = bisect_left(order, (size, id_))
        if at == len(order) or order[at] != (size, id_):
            raise KeyError(id_)
        del order[at]
        if not order:
            del groups[group]
            if not groups:
                del self._orders[key]

    def tightest(self, key: tuple[str, ...], size: int, wanted: int = 0) -> str | None:
        """The best id whose size is at least `size`; None where there is none.

        One in a group with one of the `wanted` bits comes first, then the least size, then the least id.
        """
        groups = self._orders.get(key)
        if groups is None:
            return None
        best: tuple[bool, tuple[int, str]] | None = None
        for group, order in groups.items():
            at = bisect_left(order, (size, ""))
            if at < len(order):
                found = (not group & wanted, order[at])
                if best is None or found < best:
                    best = found
        return best[1][1] if best else None

    def first(self, key: tuple[str, ...]) -> str | None:
        """The id of the least size, by id among equals; None where there is none."""
        groups = self._orders.get(key)
        return min(order[0] for order in groups.values())[1] if groups else None

    def largest(self, key: tuple[str, ...]) -> int | None:
        """The greatest size; None where there is none."""
        groups = self._orders.get(key)
        return max(order[-1][0] for order in groups.values()) if groups else None

    def largest_first(self, key: tuple[str, ...]) -> Iterator[tuple[int, str]]:
        """Sizes and ids, the largest first, of an order with a single group."""
        for order in self._orders.get(key, {}).values():
            yield from reversed(order)
