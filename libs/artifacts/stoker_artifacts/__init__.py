"""Archives of code: what is safe to unpack, and unpacking it.

An archive is a zip or a tar.gz, from somebody who is not trusted. `inspect` reads it through and says what is in it;
`unpack` does the same and writes it down. Both go by the same rules, so what the one takes the other takes too, and
both read as a stream: neither an archive nor a file in it is ever in memory whole.
"""

from stoker_artifacts.archive import inspect
from stoker_artifacts.contents import Contents, Format
from stoker_artifacts.errors import Reason, UnsafeArchive
from stoker_artifacts.limits import DEFAULT_LIMITS, Limits
from stoker_artifacts.unpacking import unpack

__all__ = ["DEFAULT_LIMITS", "Contents", "Format", "Limits", "Reason", "UnsafeArchive", "inspect", "unpack"]
