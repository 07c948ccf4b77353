"""Removes all that this host's agent has made in the hypervisor and the file systems."""

from dataclasses import dataclass

from stoker_hostagent.vm import VmSettings


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was removed."""

    domains: int
    mounts: int
    files: int


async def run(settings: VmSettings) -> Removed:
    """Destroys all domains of this host's id, and removes mounts, sockets and console logs. Repeating it does no harm.

    Raises:
        StokerError: HOST_AGENT_RUNNING (end it first), HYPERVISOR_UNAVAILABLE.
    """
    raise NotImplementedError
