"""How much an archive may hold."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what an archive may unpack to."""

    unpacked_bytes: int = 1024 * MIB
    """The sizes of all files together, in bytes."""
    entries: int = 100_000
    """Files, links and directories, also those that are only named as part of a path."""
    ratio: int = 100
    """How many times larger than packed it may be. Code and its data stay below 20, a zip bomb comes to 1,000."""
    ratio_free_bytes: int = 16 * MIB
    """What any archive may unpack to, in bytes, whatever its ratio."""
    path_bytes: int = 1024
    """A path's length in bytes, also that of a link's target."""
    name_bytes: int = 255
    """The length in bytes of one part of a path: what file systems can hold."""
    all_paths_bytes: int = 32 * MIB
    """The lengths of all paths together, in bytes: they are in memory while an archive is read."""


DEFAULT_LIMITS = Limits()
