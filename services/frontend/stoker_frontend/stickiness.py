"""Which of an alias's two versions a session goes to: the same one, as long as the weights allow.

A session's key stands at a point of a line that the weights divide, the version with the lower number first. It does
not depend on the weights, so when one version's share grows, sessions move to it and none moves away; how the weights
were written down does not matter either.
"""

from hashlib import blake2b

from stoker_frontend.routes import RouteKey, Routes, WeightedVersion

_POINTS = 2**53
"""How many points of the line there are; a float holds no more."""


def point_of(key: RouteKey, session_key: str) -> float:
    """Where a session stands, from 0 up to but not including 1: anywhere, and elsewhere for another alias."""
    text = "\0".join((*key, session_key)).encode("utf-8", "surrogatepass")
    return (int.from_bytes(blake2b(text, digest_size=8).digest()) >> 11) / _POINTS


def in_order(routes: Routes) -> list[WeightedVersion]:
    """The routes as they divide the line for sessions."""
    return sorted(routes, key=_number)


def _number(route: WeightedVersion) -> int:
    return route.version.number
