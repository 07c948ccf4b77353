"""The guest agent, put together from its parts."""

import asyncio
import logging
import sys
from pathlib import Path

from stoker_ttrpc.server import Server

from agent import cgroups, identity, mounts
from agent.children import Children
from agent.container_ports import find_container_ports
from agent.containers import Containers
from agent.events import Events
from agent.messages import load_messages
from agent.runtimes import find_runtimes
from agent.service import GuestService
from agent.virtio_port import open_port

ROOT = Path("/usr/lib/stoker")
PORT_NAME = "dev.stoker.guest.0"


def start() -> None:
    """Runs the agent. It never returns: the VM is destroyed, not shut down."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="stoker-agent: %(levelname)s %(message)s")
    mounts.prepare()
    identity.prepare()
    cgroups.prepare()
    asyncio.run(_serve())


async def _serve() -> None:
    messages = load_messages(ROOT / "agent" / "guest.binpb")
    events = Events()
    async with asyncio.TaskGroup() as group:
        runtimes, ports = find_runtimes(ROOT / "runtimes"), find_container_ports()
        containers = Containers(group, Children(), events, runtimes, ports)
        image = (ROOT / "image-id").read_text().strip()
        service = GuestService(messages, containers, events, image)
        server = Server(service.methods(), messages.TransportRequest, messages.TransportResponse)
        port = open_port(PORT_NAME)
        logging.info("serving at %s", PORT_NAME)
        while True:
            await port.wait_for_host()
            await server.serve(port, port)
