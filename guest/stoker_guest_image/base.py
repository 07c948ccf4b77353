"""The base of an image: Debian's packages, unpacked and configured by mmdebstrap, and the kernel's package beside them.

It depends on nothing of Stoker's, takes half a minute to make, and is kept until the recipe's part on it changes.
"""

import os
import platform
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoker_guest_image import apt_sources, sources, tools
from stoker_guest_image.apt_sources import Mirror
from stoker_guest_image.errors import ImageError
from stoker_guest_image.progress import Progress
from stoker_guest_image.recipe import BaseRecipe

MIRROR_VARIABLE = "STOKER_DEBIAN_MIRROR"
MMDEBSTRAP_S = 600.0
_APT = Path("/etc/apt")

_SETUP = """
set -e
for directory in bin lib lib64 sbin; do mkdir -p "$1/usr/$directory"; ln -s "usr/$directory" "$1/$directory"; done
printf 'Package: usrmerge\\nPin: version *\\nPin-Priority: -1\\n' > "$1/etc/apt/preferences.d/stoker"
"""
"""Makes the links that the package usr-is-merged wants to find, and keeps apt from taking usrmerge in its place."""

_FETCH_BOOT_PACKAGES = """
set -e
mkdir "$1/boot-packages"
cd "$1/boot-packages"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
kernel=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p')
apt-get -qq -o APT::Sandbox::User=root download "$kernel" busybox-static
mv linux-image-*.deb kernel.deb
mv busybox-static_*.deb busybox.deb
"""
"""Fetches what boots the root but is not installed in it: installing a kernel would bring initramfs-tools along."""

_CLEAN_UP = """
rm -r "$1/boot-packages" "$1/etc/apt/preferences.d/stoker"
"""


@dataclass(frozen=True, slots=True)
class Base:
    """A base on disk."""

    directory: Path

    @property
    def root(self) -> Path:
        """The tar of the root."""
        return self.directory / "root.tar"

    @property
    def kernel(self) -> Path:
        """Debian's package of the kernel."""
        return self.directory / "kernel.deb"

    @property
    def busybox(self) -> Path:
        """Debian's package of busybox."""
        return self.directory / "busybox.deb"


def id_of(recipe: BaseRecipe) -> str:
    """The hash over all that goes into a base."""
    return sources.base_id(recipe, Path(__file__).read_text(encoding="utf-8"))


def make_base(recipe: BaseRecipe, directory: Path, progress: Progress) -> Base:
    """Makes a base in an empty directory.

    Raises:
        ImageError: mmdebstrap failed.
    """
    base = Base(directory)
    mirror = find_mirror()
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(recipe.epoch_s)}

    def tell(line: str) -> None:
        if found := re.match(r"I: (running apt-get|downloading|extracting|installing|creating)(.*)", line):
            progress.say(f"  mmdebstrap: {found[1]}{found[2]}")

    where = f"from {mirror.archive}" if mirror else "from mmdebstrap's default mirror"
    if mirror and not mirror.security:
        progress.say("the mirror has no security updates that are known of, so the image will have none")
    with progress.step(f"installing Debian packages {where} (about 25 s)"):
        try:
            tools.run_telling(_command(recipe, base, mirror), tell, environment=environment, timeout_s=MMDEBSTRAP_S)
        except ImageError as error:
            raise ImageError(f"{error}\n{_advice()}") from error
    return base


def find_mirror() -> Mirror | None:
    """The mirror to use; None for mmdebstrap's default.

    Raises:
        ImageError: The environment names an impossible one.
    """
    if told := apt_sources.parse_mirror(os.environ.get(MIRROR_VARIABLE, "")):
        return told
    release = platform.freedesktop_os_release()
    if release["ID"] != "debian":
        return None
    found = [
        source
        for path in [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]
        if path.suffix in (".list", ".sources")
        for source in apt_sources.parse_sources(_read(path), is_deb822=path.suffix == ".sources")
    ]
    return apt_sources.host_mirror(found, release.get("VERSION_CODENAME", ""))


def _command(recipe: BaseRecipe, base: Base, mirror: Mirror | None) -> Sequence[str | Path]:
    return [
        "mmdebstrap",
        # As root in plain sight; for others in a user namespace, where they are root.
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        "--variant=essential",
        "--architectures=amd64",
        "--format=tar",
        f"--components={','.join(recipe.components)}",
        f"--include={','.join(recipe.packages)}",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.exclude),
        *(f"--dpkgopt=path-include={pattern}" for pattern in recipe.include),
        f"--setup-hook={_SETUP}",
        f"--customize-hook={_FETCH_BOOT_PACKAGES}",
        f"--customize-hook=download /boot-packages/kernel.deb {shlex.quote(str(base.kernel))}",
        f"--customize-hook=download /boot-packages/busybox.deb {shlex.quote(str(base.busybox))}",
        f"--customize-hook={_CLEAN_UP}",
        recipe.suite,
        base.root,
        *(apt_sources.lines_for(mirror, recipe.suite, recipe.components) if mirror else ()),
    ]


def _advice() -> str:
    if os.geteuid() != 0:
        return (
            "Without root, mmdebstrap needs user namespaces and the package uidmap, with ranges of ids for this user "
            "in /etc/subuid and /etc/subgid. Or run this command as root."
        )
    return (
        "Where the mirror cannot be reached, name another by STOKER_DEBIAN_MIRROR='URI SECURITY-URI', "
        "or a proxy by http_proxy."
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
