"""The programs of Stoker in this Python environment: services, host checks and the image builder."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.errors import StokerError
from stoker.local.layout import SERVICES, Layout, given_environment, service_environment
from stoker.local.privileges import Privileges

BUILD_S = 900.0
FIND_IMAGE_S = 60.0
DOCTOR_S = 120.0
CLEANUP_S = 120.0
IMAGE_BUILDER = "stoker_guest_image"


class ProgramFailed(StokerError):
    """A program of Stoker's is not installed, or failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    fix: str


def check_installed() -> None:
    """Returns if all services are installed beside this command.

    Raises:
        ProgramFailed: Some are not.
    """
    modules = [*(f"stoker_{service}" for service in SERVICES), IMAGE_BUILDER]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        names = " ".join(module.replace("_", "-") for module in missing)
        raise ProgramFailed(
            "SERVICES_NOT_INSTALLED",
            f"{', '.join(missing)} not found in {sys.prefix}; install them there (`pip install {names}`), or run "
            "`stoker up` from a checkout's .venv",
        )


def build_image(images_dir: Path, privileges: Privileges) -> str:
    """Builds the guest image, showing the builder's progress; returns the image's id.

    Raises:
        ProgramFailed: It cannot be built.
    """
    command = privileges.as_root(_image_builder("build", images_dir), "building the guest image")
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=BUILD_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed("IMAGE_NOT_BUILT", f"the guest image was not built within {BUILD_S:.0f} s") from error
    if done.returncode:
        raise ProgramFailed("IMAGE_NOT_BUILT", "the guest image could not be built; the lines above say why")
    return Path(done.stdout.strip()).name


def find_image(images_dir: Path) -> str | None:
    """The id of the guest image; None where it is to be built."""
    done = subprocess.run(
        _image_builder("path", images_dir), capture_output=True, text=True, timeout=FIND_IMAGE_S, check=False
    )
    return None if done.returncode else Path(done.stdout.strip()).name


def _image_builder(command: str, images_dir: Path) -> Sequence[str]:
    return [sys.executable, "-m", IMAGE_BUILDER, command, "--images-dir", str(images_dir)]


def examine_host(layout: Layout, environment: Mapping[str, str], privileges: Privileges) -> Sequence[Check]:
    """What the host agent finds when it looks at this machine.

    Raises:
        ProgramFailed: It cannot look.
    """
    done = _run_host_agent("doctor", layout, environment, privileges, "looking at the hypervisor", DOCTOR_S)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return [Check(each["check"], each["ok"], each["detail"], each["fix"]) for each in found]
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramFailed("DOCTOR_FAILED", f"the host agent's doctor failed: {_last_line(done.stderr)}") from error


def clean_up_host(layout: Layout, environment: Mapping[str, str], privileges: Privileges) -> int:
    """Destroys this host's VMs, mounts and sockets; returns how many VMs these were.

    Raises:
        ProgramFailed: Some could not be.
    """
    done = _run_host_agent("cleanup", layout, environment, privileges, "destroying virtual machines", CLEANUP_S)
    try:
        removed: dict[str, int] = json.loads(done.stdout)
        return removed["domains"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramFailed(
            "CLEANUP_FAILED", f"virtual machines could not be destroyed: {_last_line(done.stderr)}"
        ) from error


def _run_host_agent(
    command: str, layout: Layout, environment: Mapping[str, str], privileges: Privileges, why: str, timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    variables = service_environment(layout, "hostagent", given_environment("hostagent", environment))
    # By `env`, since sudo passes on no environment; there is no secret in it.
    named = [f"{name}={value}" for name, value in variables.items() if not name.startswith("OTEL_")]
    line = privileges.as_root(["env", *named, sys.executable, "-m", "stoker_hostagent", command], why)
    try:
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(
            "HOST_AGENT_SILENT", f"`python -m stoker_hostagent {command}` did not end within {timeout_s:.0f} s"
        ) from error


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
