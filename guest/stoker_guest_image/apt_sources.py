"""Which mirror of Debian the packages come from. Pure: the text of apt's sources in, one-line sources out.

On Debian it is the host's own mirror, so that a host behind a firewall builds its image from where it gets its other
packages. Elsewhere, and where the host's sources tell nothing usable, mmdebstrap's own default is taken.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stoker_guest_image.errors import ImageError

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")


@dataclass(frozen=True, slots=True)
class Source:
    """Packages that a host takes from somewhere."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str
    """The keyring; empty for the host's trusted ones."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror of Debian."""

    archive: str
    """The URI of the archive."""
    security: str
    """The URI of the archive of security updates; empty for none."""


def parse_mirror(told: str) -> Mirror | None:
    """Reads the setting of a mirror, `URI` or `URI SECURITY-URI`; None where it is empty.

    Raises:
        ImageError: It is neither.
    """
    uris = told.split()
    if len(uris) > 2 or not all(_is_fetched(uri) for uri in uris):
        raise ImageError(
            f"STOKER_DEBIAN_MIRROR is {told!r}; give the URI of a mirror of Debian, and after a space the one of its "
            "security updates, both http or https"
        )
    return Mirror(uris[0], uris[1] if len(uris) == 2 else "") if uris else None


def host_mirror(sources: Sequence[Source], codename: str) -> Mirror | None:
    """The mirror that a Debian host uses; None where it cannot be told.

    Args:
        sources: All sources of the host's apt.
        codename: The host's release.
    """
    usable = [source for source in sources if _is_debian(source) and _is_fetched(source.uri)]
    archive = next((source.uri for source in usable if codename in source.suites), None)
    if archive is None:
        return None
    is_security = {f"{codename}-security", f"{codename}/updates"}
    return Mirror(archive, next((source.uri for source in usable if is_security & {*source.suites}), ""))


def lines_for(mirror: Mirror, suite: str, components: Sequence[str]) -> list[str]:
    """The sources of a suite from a mirror, in apt's one-line form."""
    of = " ".join(components)
    lines = [f"deb {mirror.archive} {name} {of}" for name in (suite, f"{suite}-updates")]
    if mirror.security:
        lines.append(f"deb {mirror.security} {suite}-security {of}")
    return lines


def parse_sources(text: str, *, is_deb822: bool) -> Iterator[Source]:
    """Reads one file of apt's sources; what is no enabled source of binary packages is passed over."""
    return _parse_deb822(text) if is_deb822 else _parse_one_line(text)


def _parse_one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        if found := _ONE_LINE.match(line.partition("#")[0].strip()):
            options = (found["options"] or "").split()
            signed_by = [option.partition("=")[2] for option in options if option.startswith("signed-by=")]
            yield Source(found["uri"], (found["suite"],), tuple(found["components"].split()), "".join(signed_by))


def _parse_deb822(text: str) -> Iterator[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines)):
        values: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                values[key] = f"{values.get(key, '')} {line.strip()}"
            else:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                values[key] = value.strip()
        if "deb" not in values.get("types", "").split() or values.get("enabled", "yes").lower() in ("no", "false"):
            continue
        for uri in values.get("uris", "").split():
            yield Source(
                uri,
                tuple(values.get("suites", "").split()),
                tuple(values.get("components", "").split()),
                values.get("signed-by", ""),
            )


def _is_debian(source: Source) -> bool:
    """Whether it is Debian's own: others name suites as Debian does, but sign with keys of theirs."""
    return "main" in source.components and (not source.signed_by or "debian-archive" in source.signed_by)


def _is_fetched(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))
