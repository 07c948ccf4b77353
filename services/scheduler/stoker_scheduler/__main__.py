"""Starts the scheduler: `python -m stoker_scheduler`."""

import asyncio
import sys

from stoker_service import logs, telemetry
from stoker_service.config import load_settings
from stoker_service.server import AddressInUse, serve_until_terminated

from stoker_scheduler.config import SchedulerSettings
from stoker_scheduler.scheduler import running_scheduler


async def main(settings: SchedulerSettings) -> None:
    """Serves until the process is told to end."""
    async with running_scheduler(settings):
        await serve_until_terminated()


if __name__ == "__main__":
    read = load_settings(SchedulerSettings)
    logs.configure("scheduler", read.log_level)
    provider = telemetry.configure("scheduler")
    try:
        asyncio.run(main(read))
    except AddressInUse as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    finally:
        provider.shutdown()
