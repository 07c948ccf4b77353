"""Which mirror the packages of an image come from."""

import pytest
from stoker_guest_image.apt_sources import Mirror, host_mirror, lines_for, parse_mirror, parse_sources
from stoker_guest_image.errors import ImageError

DEB822 = """\
# The archive.
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
# Security.
URIs: https://mirror.example/debian-security
Suites:
 trixie-security
Components: main contrib
"""

ONE_LINE = """\
# deb http://commented.example/debian trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian trixie main #
deb-src http://source.example/debian trixie main
deb https://mirror.example/debian-security trixie-security main contrib
"""

MIRROR = Mirror("http://mirror.example/debian", "https://mirror.example/debian-security")


@pytest.mark.parametrize(("text", "is_deb822"), [(DEB822, True), (ONE_LINE, False)])
def test_a_debian_host_gives_its_own_mirror(text: str, is_deb822: bool) -> None:
    assert host_mirror([*parse_sources(text, is_deb822=is_deb822)], "trixie") == MIRROR


def test_a_mirror_of_another_release_serves_the_images_release() -> None:
    assert lines_for(MIRROR, "bookworm", ["main"]) == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb https://mirror.example/debian-security bookworm-security main",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb\nURIs: https://other.example/repo\nSuites: trixie\nComponents: main\nSigned-By: /etc/other.gpg\n",
        "Types: deb\nURIs: https://other.example/repo\nSuites: trixie\nComponents: stable\n",
        "Types: deb\nURIs: https://other.example/repo\nSuites: nodistro\nComponents: main\n",
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\nEnabled: no\n",
        "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n",
        "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n",
        "",
    ],
)
def test_repositories_of_others_and_unusable_ones_are_never_taken(text: str) -> None:
    assert host_mirror([*parse_sources(text, is_deb822=True)], "trixie") is None


def test_a_mirror_can_be_told() -> None:
    assert parse_mirror("http://a.example/debian") == Mirror("http://a.example/debian", "")
    assert parse_mirror(" http://a.example/debian  https://b.example/security ") == Mirror(
        "http://a.example/debian", "https://b.example/security"
    )
    assert parse_mirror("") is None


@pytest.mark.parametrize("told", ["ftp://a.example/debian", "debian", "http://a http://b http://c"])
def test_an_impossible_mirror_is_refused_by_its_variables_name(told: str) -> None:
    with pytest.raises(ImageError, match="STOKER_DEBIAN_MIRROR"):
        parse_mirror(told)
