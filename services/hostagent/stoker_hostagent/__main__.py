"""Starts the host agent: `python -m stoker_hostagent`; `… doctor` checks this host, `… cleanup` removes its VMs."""

import dataclasses
import json
import sys

from stoker_service import logs, loops, telemetry
from stoker_service.config import load_settings
from stoker_service.errors import StokerError
from stoker_service.server import AddressInUse, serve_until_terminated

from stoker_hostagent import cleanup, doctor
from stoker_hostagent.code_trust import TrustedKeysUnusable
from stoker_hostagent.config import HostAgentSettings
from stoker_hostagent.hostagent import running_hostagent, vm_settings


async def serve(settings: HostAgentSettings) -> int:
    """Serves until the process is told to end; the VMs go on running."""
    async with running_hostagent(settings):
        await serve_until_terminated()
    return 0


async def check(settings: HostAgentSettings) -> int:
    """Prints what `doctor` finds as a JSON array; returns 1 where something has to be done."""
    checks = await doctor.run(vm_settings(settings))
    print(json.dumps([dataclasses.asdict(check) for check in checks]))
    return 0 if all(check.ok for check in checks) else 1


async def clean(settings: HostAgentSettings) -> int:
    """Destroys all VMs of this host and what they left, and prints how much that was as a JSON object."""
    print(json.dumps(dataclasses.asdict(await cleanup.run(vm_settings(settings)))))
    return 0


COMMANDS = {"serve": serve, "doctor": check, "cleanup": clean}


def main(arguments: list[str]) -> int:
    """Carries out one command, `serve` by default, and returns the process's status."""
    command = COMMANDS.get(" ".join(arguments) or "serve")
    if command is None:
        print(f"usage: python -m stoker_hostagent [{' | '.join(COMMANDS)}]", file=sys.stderr)
        return 2
    settings = load_settings(HostAgentSettings)
    logs.configure("hostagent", settings.log_level)
    provider = telemetry.configure("hostagent")
    try:
        return loops.run(command(settings))
    except (StokerError, AddressInUse, TrustedKeysUnusable) as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        provider.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
