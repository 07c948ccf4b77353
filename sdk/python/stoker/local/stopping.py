"""`stoker down`: stops the services, destroys the virtual machines, and stops what `up` had started for them."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoker import settings
from stoker.errors import StokerError
from stoker.local import homes, hypervisor_daemons, packages
from stoker.local.layout import Layout
from stoker.local.privileges import Privileges
from stoker.local.processes import Process, recall, send_signal, wait_for_end
from stoker.local.report import Report

ORDER = (("frontend",), ("hostagent", "scheduler", "codestore"))
"""The frontend first, so that invocations under way can end while the others still answer."""
DRAIN_S = 20.0
KILL_S = 10.0
WHY = "stopping the host agent"


class NotStopped(StokerError):
    """Something could not be stopped."""


class Stopper:
    """Stops the Stoker of one home directory."""

    def __init__(self, layout: Layout, report: Report, privileges: Privileges, environment: Mapping[str, str]) -> None:
        self._layout = layout
        self._report = report
        self._privileges = privileges
        self._environment = environment

    def down(self, *, is_purge: bool) -> None:
        """Stops everything; with `is_purge`, deletes what is stored too.

        Raises:
            StokerError: Why something goes on.
        """
        packages.check_installed()
        with homes.locked(self._layout):
            self._privileges.unlock()
            for group in ORDER:
                self._stop_services(group)
            with self._report.step("virtual machines") as step:
                # libvirt may have been stopped before; it takes them down with it, but not the mounts.
                hypervisor_daemons.start_missing(self._layout, self._privileges)
                destroyed = packages.clean_up_host(self._layout, self._environment, self._privileges)
                step.outcome = f"{destroyed} destroyed" if destroyed else "none are left"
            stopped = hypervisor_daemons.stop_started(self._layout, self._privileges)
            if stopped:
                with self._report.step("libvirt") as step:
                    step.outcome = f"stopped {' and '.join(stopped)}, which `up` had started"
            if is_purge:
                with self._report.step("stored data") as step:
                    self._purge()
                    step.outcome = f"deleted {self._layout.home}"

    def _stop_services(self, services: Sequence[str]) -> None:
        running = {service: recall(self._layout.process_file(service)) for service in services}
        for process in running.values():
            if process is not None:
                self._signal(process, signal.SIGTERM)
        for service, process in running.items():
            if process is not None:
                with self._report.step(service) as step:
                    step.outcome = self._wait(service, process)
            self._layout.process_file(service).unlink(missing_ok=True)

    def _wait(self, service: str, process: Process) -> str:
        if not wait_for_end([process], DRAIN_S):
            return "stopped"
        self._signal(process, signal.SIGKILL)
        if wait_for_end([process], KILL_S):
            raise NotStopped("SERVICE_RUNS_ON", f"{service} does not end even when killed; its pid is {process.pid}")
        return f"killed, because it did not end within {DRAIN_S:.0f} s"

    def _signal(self, process: Process, number: signal.Signals) -> None:
        try:
            send_signal(process, number)
        except PermissionError:
            self._privileges.run(["kill", f"-{number.value}", str(process.pid)], WHY, timeout_s=10)

    def _purge(self) -> None:
        user_file = settings.config_file(self._environment)
        if _is_same(user_file, self._layout.client_file):
            user_file.unlink()
        homes.purge(self._layout, self._privileges)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False
