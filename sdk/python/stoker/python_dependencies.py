"""`requirements.txt`, installed by uv for the guest's Python, from wheels alone."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from stoker.build_tools import BuildFailed, Tell, run

REQUIREMENTS = "requirements.txt"
VERSION = "3.11"
PLATFORM = "x86_64-manylinux_2_36"
"""The guest is Debian 12: glibc 2.36, on x86-64."""

_REFERENCE = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)", re.MULTILINE)
_NO_WHEEL = re.compile(r"([A-Za-z0-9][\w.-]*(?:==[\w.+!-]+)?) has no (?:usable wheels|wheels with a matching)")
_WHEEL_REQUIRED = re.compile(r"Wheels are required for `([^`]+)`")
_IS_EMPTY = re.compile(rb"(?:\s*(?:#[^\n]*)?(?:\n|$))*")


def asked(directory: Path) -> Mapping[str, bytes] | None:
    """`requirements.txt` and the files that it refers to, by their paths; None where it is missing or empty.

    Raises:
        OSError: One cannot be read.
    """
    found: dict[str, bytes] = {}
    waiting = [REQUIREMENTS] if (directory / REQUIREMENTS).is_file() else []
    while waiting:
        name = os.path.normpath(waiting.pop())
        if name in found or "://" in name:
            continue
        found[name] = (directory / name).read_bytes()
        references = _REFERENCE.findall(found[name].decode(errors="replace"))
        waiting += [os.path.join(os.path.dirname(name), each) for each in references]  # noqa: PTH118, PTH120 - relative
    return None if all(_IS_EMPTY.fullmatch(data) for data in found.values()) else found


def install(asked: Mapping[str, bytes], target: Path, tell: Tell) -> None:
    """Installs requirements into a directory that is made.

    Raises:
        BuildFailed: Something has no wheel for the guest, or uv is missing or fails.
    """
    sources = target.with_name("requirements")
    for name, data in asked.items():
        path = sources / name
        if not path.resolve().is_relative_to(sources.resolve()):
            raise BuildFailed(
                "REQUIREMENTS_OUTSIDE", f"{REQUIREMENTS} refers to {name}, outside of the directory; copy it there"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    command = [
        *(_uv(), "pip", "install", "--target", str(target), "--requirement", REQUIREMENTS),
        *("--python-version", VERSION, "--python-platform", PLATFORM, "--only-binary", ":all:"),
        *("--python", sys.executable, "--no-config", "--link-mode", "copy", "--color", "never", "--no-progress"),
    ]
    code, printed = run(command, sources, os.environ, tell)
    if code:
        raise _failure(printed)
    target.mkdir(exist_ok=True)
    _make_reproducible(target)


def _uv() -> str:
    """uv: of this environment, else of the PATH.

    Raises:
        BuildFailed: It is in neither.
    """
    beside = Path(sys.executable).with_name("uv")
    if importlib.util.find_spec("uv") is not None and beside.exists():
        return str(beside)
    found = shutil.which("uv")
    if found is None:
        raise BuildFailed(
            "UV_MISSING",
            f"uv, which installs {REQUIREMENTS} for the guest, is not there; install it (`pip install uv`), or install "
            "the dependencies into the directory yourself and deploy with --no-build",
        )
    return found


def _failure(printed: str) -> BuildFailed:
    missing = dict.fromkeys(_NO_WHEEL.findall(printed))
    for name in _WHEEL_REQUIRED.findall(printed):
        if not any(each.partition("==")[0] == name for each in missing):
            missing[name] = None
    if missing:
        return BuildFailed(
            "NO_WHEEL",
            f"{REQUIREMENTS}: {', '.join(missing)} has no wheel for the guest (Python {VERSION}, x86-64, "
            "glibc 2.36); ask for a version that has one, or build a wheel and put its content into the directory",
        )
    told = printed.strip() or "it printed nothing"
    return BuildFailed("BUILD_FAILED", f"{REQUIREMENTS} cannot be installed for the guest: {told}")


def _make_reproducible(target: Path) -> None:
    """Removes what depends on this machine: commands, which name its Python, and uv's own notes."""
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    for information in target.glob("*.dist-info"):
        for name in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"):
            (information / name).unlink(missing_ok=True)
        record = information / "RECORD"
        if record.is_file():
            lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
            record.unlink()
            record.write_text("".join(line for line in lines if _is_kept(line)), encoding="utf-8")


def _is_kept(line: str) -> bool:
    return not (
        line.startswith(("bin/", "../"))
        or any(f".dist-info/{name}," in line for name in ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"))
    )
