"""How a container comes to be, and how all that was made for it goes away again."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from agent import mounts
from agent.cgroups import Cgroup
from agent.container import Container
from agent.crun import Crun, CrunFailed, remove_bundle
from agent.oci_config import ContainerSpec, config
from agent.output import Output
from agent.runtime_channel import RuntimeChannel

CHANNEL_FILE = 3
"""The number under which a runtime finds its connection to the agent."""

log = logging.getLogger(__name__)


async def make_container(
    spec: ContainerSpec, crun: Crun, printed: Callable[[str, str, list[str]], None], resources: AsyncExitStack
) -> "tuple[Container, asyncio.Future[int]]":
    """Makes a container whose runtime is starting.

    Args:
        spec: What it shall be.
        crun: Makes it.
        printed: Is called with an invocation's id, a stream's name and lines.
        resources: Takes over how to remove whatever has been made, also where making it fails.

    Returns:
        The container, and how its first process will end.

    Raises:
        CrunFailed: It can't be made.
    """
    bundle = mounts.CONTAINERS / spec.id
    windows = mounts.Windows(bundle / "code", bundle / "layers")
    cgroup = Cgroup(spec.id)
    bundle.mkdir()
    resources.callback(remove_bundle, bundle)
    for window in (windows.code, windows.layers):
        mounts.make_window(window)
        resources.callback(mounts.remove_window, window)
    resources.callback(cgroup.remove)
    resources.push_async_callback(_delete, crun, spec.id, bundle)
    with ExitStack() as theirs:
        own, other = socket.socketpair()
        theirs.callback(other.close)
        channel = RuntimeChannel(own)
        resources.callback(channel.close)
        stdout, stderr = _pipe(spec.user_id, theirs), _pipe(spec.user_id, theirs)
        output = Output(stdout[0], stderr[0], printed)
        resources.callback(output.close)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        theirs.callback(os.close, null)
        pid, end = await crun.run(
            spec.id,
            bundle,
            config(spec, str(mounts.CONTAINER_ROOT), windows, cgroup.path, os.uname().machine),
            {0: null, 1: stdout[1], 2: stderr[1], CHANNEL_FILE: other.fileno()},
        )
    return Container(spec, pid, windows, cgroup, channel, output, resources), end


def _pipe(user_id: int, theirs: ExitStack) -> tuple[int, int]:
    """A pipe whose writing end a process of this user may open again, as `/dev/stdout`."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    theirs.callback(os.close, writing)
    os.fchown(writing, user_id, user_id)
    return reading, writing


async def _delete(crun: Crun, container: str, bundle: Path) -> None:
    try:
        await crun.delete(container, bundle)
    except (CrunFailed, TimeoutError) as error:
        log.warning("container %s may have left something: %s", container, error)
