"""Starts the codestore: `python -m stoker_codestore`."""

import asyncio
import sys

from stoker_service import logs, telemetry
from stoker_service.config import load_settings
from stoker_service.server import AddressInUse, serve_until_terminated

from stoker_codestore.codestore import DatabaseUnreachable, UploadsUnusable, running_codestore
from stoker_codestore.config import CodestoreSettings
from stoker_codestore.object_store import StoreUnusable


async def main(settings: CodestoreSettings) -> None:
    """Serves until the process is told to end."""
    async with running_codestore(settings):
        await serve_until_terminated()


if __name__ == "__main__":
    read = load_settings(CodestoreSettings)
    logs.configure("codestore", read.log_level)
    provider = telemetry.configure("codestore")
    try:
        asyncio.run(main(read))
    except (StoreUnusable, UploadsUnusable, AddressInUse) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except DatabaseUnreachable as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    finally:
        provider.shutdown()
