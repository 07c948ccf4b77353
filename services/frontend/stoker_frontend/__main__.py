"""Starts the frontend: `python -m stoker_frontend`."""

import sys

from stoker_service import logs, loops, telemetry
from stoker_service.config import load_settings
from stoker_service.server import AddressInUse, serve_until_terminated
from stoker_service.sql import DatabaseUnusable

from stoker_frontend.config import FrontendSettings
from stoker_frontend.frontend import AdminKeyUnreadable, running_frontend


async def main(settings: FrontendSettings) -> None:
    """Serves until the process is told to end."""
    async with running_frontend(settings):
        await serve_until_terminated()


if __name__ == "__main__":
    read = load_settings(FrontendSettings)
    logs.configure("frontend", read.log_level)
    provider = telemetry.configure("frontend")
    try:
        loops.run(main(read))
    except (AdminKeyUnreadable, AddressInUse) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except DatabaseUnusable as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    finally:
        provider.shutdown()
