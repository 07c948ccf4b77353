"""`stoker up`: starts what does not run, waits until it answers, and sets up a first tenant.

Every step looks at what is there and does what is missing, so that running it again is how a part that was killed is
brought back.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoker import settings
from stoker.aio import Client
from stoker.errors import StokerError
from stoker.local import homes, hypervisor_daemons, keys, packages
from stoker.local.launch import Launch
from stoker.local.layout import SERVICES, Layout, given_environment, service_environment
from stoker.local.privileges import Privileges
from stoker.local.processes import Process, identify, recall, remember
from stoker.local.readiness import ServiceEnded, until_host_connected, until_serving
from stoker.local.report import Report
from stoker.settings import Settings

LAUNCH_S = 30.0
SERVING_S = 60.0
HOST_CONNECTED_S = 120.0
"""The host agent tries an accelerator and takes over VMs before it connects."""
LOG_LINES = 8


class NotStarted(StokerError):
    """Stoker could not be started."""


class Starter:
    """Starts the Stoker of one home directory."""

    def __init__(self, layout: Layout, report: Report, privileges: Privileges, environment: Mapping[str, str]) -> None:
        self._layout = layout
        self._report = report
        self._privileges = privileges
        self._environment = dict(environment)

    def up(self) -> Settings:
        """Starts everything; returns the settings of a client of the tenant `dev`.

        Raises:
            StokerError: Why that was not possible.
        """
        packages.check_installed()
        homes.prepare(self._layout, self._privileges)
        with homes.locked(self._layout):
            missing = [service for service in SERVICES if not recall(self._layout.process_file(service))]
            for service in missing:
                self._check_free(service)
            if "hostagent" in missing:
                self._privileges.unlock()
                self._prepare_host()
            admin_key = keys.ensure_admin_key(self._layout.admin_key_file)
            log_sizes = {service: self._log_size(service) for service in SERVICES}
            try:
                for service in missing:
                    self._start(service)
                return asyncio.run(self._until_ready(missing, admin_key))
            except ServiceEnded as error:
                lines = self._log_since(error.service, log_sizes[error.service])
                where = self._layout.log_file(error.service)
                raise NotStarted(error.reason, f"{error.message}; the end of {where}:\n" + "\n".join(lines)) from error

    def _check_free(self, service: str) -> None:
        address = self._layout.address(service)
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except OSError:
            return
        raise NotStarted(
            "ADDRESS_IN_USE",
            f"another program answers at {address}, where {service} would; end it, or choose other ports by "
            "`--port-base`",
        )

    def _prepare_host(self) -> None:
        with self._report.step("libvirt") as step:
            started = hypervisor_daemons.start_missing(self._layout, self._privileges)
            step.outcome = f"started {' and '.join(started)}" if started else "is running"
        image = self._ensure_image()
        # The one that was built last may be of another checkout.
        self._environment.setdefault("STOKER_HOSTAGENT_IMAGE", image)
        with self._report.step("host") as step:
            checks = packages.examine_host(self._layout, self._environment, self._privileges)
            failed = [check for check in checks if not check.ok]
            if failed:
                lines = [f"{check.check}: {check.detail}; {check.fix}" for check in failed]
                raise NotStarted("HOST_NOT_FIT", "this host cannot run virtual machines yet:\n" + "\n".join(lines))
            step.outcome = f"{len(checks)} checks passed"

    def _ensure_image(self) -> str:
        images_dir = Path(self._environment.get("STOKER_HOSTAGENT_IMAGES_DIR", self._layout.images_dir))
        image = packages.find_image(images_dir)
        if image is None:
            # It shows its own progress.
            image = packages.build_image(images_dir, self._privileges)
            self._report.done("guest image", f"built {image}")
        else:
            self._report.done("guest image", f"{image}, built before")
        return image

    def _start(self, service: str) -> None:
        given = given_environment(service, self._environment)
        launch = Launch(
            command=[sys.executable, "-m", f"stoker_{service}"],
            environment=service_environment(self._layout, service, given),
            log_file=str(self._layout.log_file(service)),
        )
        command: Sequence[str] = [sys.executable, "-m", "stoker.local.launch"]
        if service == "hostagent":
            command = self._privileges.as_root(command, "the host agent, which makes virtual machines and mounts,")
        try:
            done = subprocess.run(
                command, input=launch.to_json(), capture_output=True, text=True, timeout=LAUNCH_S, check=False
            )
            process = identify(int(done.stdout))
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise NotStarted("NOT_STARTED", f"{service} could not be started: {error}") from error
        if process is None:
            raise ServiceEnded(service)
        remember(self._layout.process_file(service), process)

    async def _until_ready(self, started: Sequence[str], admin_key: str) -> Settings:
        for service in SERVICES:
            process = self._process(service)
            with self._report.step(service) as step:
                await until_serving(service, process, self._layout.address(service), SERVING_S)
                state = "started" if service in started else "is running"
                step.outcome = f"{state}, {self._layout.listen_address(service)}, pid {process.pid}"
        endpoint = self._layout.address("frontend")
        with self._report.step(f"host {self._layout.host}") as step:
            async with Client(endpoint, api_key="none", admin_key=admin_key) as client:
                step.outcome = await until_host_connected(
                    client, self._layout.host, self._process("hostagent"), HOST_CONNECTED_S
                )
        with self._report.step(f"tenant {keys.TENANT}") as step:
            made = await keys.ensure_developer(self._layout, admin_key)
            said = await keys.configure_user(made, settings.config_file(self._environment))
            step.outcome = f"key {said or f'in {self._layout.client_file}'}"
        return made

    def _process(self, service: str) -> Process:
        process = recall(self._layout.process_file(service))
        if process is None:
            raise ServiceEnded(service)
        return process

    def _log_size(self, service: str) -> int:
        try:
            return self._layout.log_file(service).stat().st_size
        except FileNotFoundError:
            return 0

    def _log_since(self, service: str, size: int) -> Sequence[str]:
        try:
            with self._layout.log_file(service).open("rb") as file:
                # The log was moved aside if it is now smaller.
                if file.seek(0, 2) >= size:
                    file.seek(size)
                else:
                    file.seek(0)
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError as error:
            return [f"cannot be read: {error.strerror}"]
        return lines[-LOG_LINES:] or ["nothing"]
