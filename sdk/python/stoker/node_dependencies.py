"""`package.json`, installed by npm for the guest's platform."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from stoker.build_tools import BuildFailed, Tell, run

PACKAGE = "package.json"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
MODULES = "node_modules"


def asked(directory: Path) -> Mapping[str, bytes] | None:
    """`package.json` with its lock and npm's settings; None where it is missing or asks for nothing.

    Raises:
        OSError: One cannot be read.
    """
    if not (directory / PACKAGE).is_file():
        return None
    found = {
        name: (directory / name).read_bytes() for name in (PACKAGE, *LOCKS, ".npmrc") if (directory / name).is_file()
    }
    return found if _asks(found[PACKAGE]) else None


def install(asked: Mapping[str, bytes], target: Path, tell: Tell) -> None:
    """Installs `node_modules` into a directory that is made.

    Scripts of packages are not run: they would build for this machine, and not for the guest.

    Raises:
        BuildFailed: npm is missing or fails, or a package has to be compiled.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise BuildFailed(
            "NPM_MISSING",
            f"npm, which installs {PACKAGE}, is not in the PATH; install Node.js with npm (such as `apt install "
            "npm`), or install the dependencies into the directory yourself and deploy with --no-build",
        )
    target.mkdir()
    for name, data in asked.items():
        (target / name).write_bytes(data)
    command = [
        *(npm, "ci" if any(lock in asked for lock in LOCKS) else "install", "--omit=dev", "--ignore-scripts"),
        *("--os=linux", "--cpu=x64", "--libc=glibc", "--no-audit", "--no-fund", "--no-update-notifier"),
        *("--loglevel=error", "--no-color"),
    ]
    code, printed = run(command, target, os.environ, tell)
    if code:
        told = printed.strip() or "it printed nothing"
        raise BuildFailed("BUILD_FAILED", f"{PACKAGE} cannot be installed for the guest: {told}")
    modules = target / MODULES
    modules.mkdir(exist_ok=True)
    _check_compiled(modules)
    for name in (*asked, *LOCKS):
        (target / name).unlink(missing_ok=True)
    (modules / ".package-lock.json").unlink(missing_ok=True)


def _asks(package: bytes) -> bool:
    try:
        found: Any = json.loads(package)
    except ValueError as error:
        raise BuildFailed("PACKAGE_INVALID", f"{PACKAGE} is not JSON: {error}") from error
    if not isinstance(found, dict):
        return False
    described = cast("dict[str, Any]", found)
    return any(described.get(kind) for kind in ("dependencies", "optionalDependencies", "peerDependencies"))


def _check_compiled(modules: Path) -> None:
    """Returns if no package has code to be compiled that does not come compiled too."""
    sources = [path.parent for path in modules.rglob("binding.gyp")]
    missing = sorted({str(path.relative_to(modules)) for path in sources if not any(path.rglob("*.node"))})
    if missing:
        raise BuildFailed(
            "NO_PREBUILD",
            f"{PACKAGE}: {', '.join(missing)} must be compiled and comes without binaries for the guest (Node.js 18, "
            "x86-64, glibc 2.36); take a version or another package that has them, or compile it into the directory on "
            "Debian 12 and deploy with --no-build",
        )
