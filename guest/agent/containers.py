"""All containers of the VM: making them, finding them, and noticing when they end."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from stoker_ttrpc.errors import Code as StatusCode
from stoker_ttrpc.errors import RpcError

from agent.children import Children
from agent.container import REMOVAL_TIMEOUT_S, Answer, Code, Container, Expected, Invocation, Loaded, State
from agent.container_ports import OpenPort, open_container_port
from agent.creation import make_container
from agent.crun import Crun, CrunFailed
from agent.events import Events
from agent.oci_config import ContainerSpec
from agent.runtimes import Runtime, vm_memory_mib

MAX_CONTAINERS = 64

MAX_LEFT = 16
"""Of how many containers that ended by themselves it is still known how, for a host that asks for the invocation."""

log = logging.getLogger(__name__)


class Containers:
    """The containers by their ids."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        children: Children,
        events: Events,
        runtimes: Mapping[str, Runtime],
        ports: Mapping[int, Path],
    ) -> None:
        """Begins without any.

        Args:
            group: Owns the tasks that wait for the ends of containers.
            children: Starts processes.
            events: Is told what happens by itself.
            runtimes: What containers can run.
            ports: The ports that containers may have for themselves.
        """
        self._group = group
        self._crun = Crun(children)
        self._events = events
        self._runtimes = runtimes
        self._ports = ports
        self._containers: dict[str, Container] = {}
        self._left: OrderedDict[str, Container] = OrderedDict()
        # These two by the ids that containers were made with.
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._slots: dict[str, int] = {}
        self._running = 0

    @property
    def runtimes(self) -> list[str]:
        """Names of the runtimes that containers can run."""
        return sorted(self._runtimes)

    def all(self) -> list[Container]:
        """The containers that can be used."""
        return [each for each in self._containers.values() if each.state is not State.GONE and not each.is_killed]

    async def create(
        self, container: str, runtime: str, memory_mib: int, tmp_mib: int, *, is_in_background: bool
    ) -> None:
        """Makes a blank container, and returns when its runtime has started.

        Raises:
            RpcError: There is one with this id, no such runtime, or it didn't start.
        """
        if runtime not in self._runtimes:
            known = ", ".join(self.runtimes)
            raise RpcError(StatusCode.INVALID_ARGUMENT, f"runtime: {runtime!r} is not in this image; it has {known}")
        self._check_unused(container)
        if len(self._slots) >= MAX_CONTAINERS:
            raise RpcError(StatusCode.RESOURCE_EXHAUSTED, f"{MAX_CONTAINERS} containers exist, the most there may be")
        slot = next(number for number in range(MAX_CONTAINERS) if number not in self._slots.values())
        self._slots[container] = slot
        command = tuple(self._runtimes[runtime].command_for(vm_memory_mib()))
        spec = ContainerSpec(container, runtime, command, memory_mib, tmp_mib, slot, is_in_background)
        async with AsyncExitStack() as resources:
            resources.callback(self._slots.pop, container)
            try:
                made, end = await make_container(spec, self._crun, partial(self._events.printed, container), resources)
            except CrunFailed as error:
                raise RpcError(StatusCode.INTERNAL, f"container {container}: {error}") from error
            made.resources = resources.pop_all()
        self._containers[container] = made
        self._lives[container] = self._group.create_task(self._live(made, end))
        if (failure := await made.wait_until_ready()) is not None:
            said = made.last_output()
            await self.destroy(container)
            raise RpcError(
                StatusCode.FAILED_PRECONDITION,
                f"container {container}: {failure.message}{f'; it printed: {said}' if said else ''}",
            )

    async def load(self, container: str, code: Code, port_number: int) -> Loaded:
        """Loads code into a blank container, which has another id then; where it can't be, the container is destroyed.

        It gets the port of that number, unless that is taken, its runtime doesn't read ports, or it is to run several
        invocations at once; 0 is no port's.

        Raises:
            RpcError: The container isn't there, or isn't blank; the id is another's; or it can't be made ready.
        """
        found = self._find(container, State.BLANK)
        if code.name != container:
            self._check_unused(code.name)
            self._containers[code.name] = self._containers.pop(container)
            found.rename(code.name, partial(self._events.printed, code.name))
        port = self._open_port(found, code, port_number)
        try:
            loaded = await found.load(code, port)
        except OSError as error:
            await self.destroy(code.name)
            raise RpcError(StatusCode.INTERNAL, f"container {code.name} can't be made ready: {error}") from error
        finally:
            if port is not None:
                port.close()
        if loaded.failure is not None:
            await self.destroy(code.name)
        elif found.must_be_heard:
            self._group.create_task(found.listen())
        return loaded

    async def invoke(self, container: str, invocation: Invocation) -> Answer:
        """Runs an invocation in a container that has code and room for one.

        Raises:
            RpcError: The container isn't there, or isn't idle; or it runs an invocation of this id.
        """
        found = self._find(container, State.IDLE)
        if found.port_number:
            raise RpcError(StatusCode.FAILED_PRECONDITION, f"container: {container} gets invocations by its own port")
        if found.is_full:
            raise RpcError(StatusCode.FAILED_PRECONDITION, f"container: {container} runs as many as it may")
        if found.runs(invocation.id):
            raise RpcError(StatusCode.ALREADY_EXISTS, f"invocation_id: {container} runs {invocation.id} already")
        self._running += 1
        try:
            return await found.invoke(invocation, is_alone=self._running == 1)
        finally:
            self._running -= 1

    async def finish(self, container: str, expected: Expected) -> Answer:
        """Waits for the end of an invocation that came by the container's own port; it may have ended with that.

        Raises:
            RpcError: The container isn't there, or has no port.
        """
        found = self._left.pop(container, None) or self._find(container, State.IDLE)
        if not found.port_number:
            raise RpcError(StatusCode.FAILED_PRECONDITION, f"container: {container} has no port of its own")
        return await found.finish_invocation(expected)

    async def destroy(self, container: str) -> None:
        """Kills a container and returns when nothing of it is left; one that isn't there is no error.

        Raises:
            RpcError: Its processes live on.
        """
        self._left.pop(container, None)
        if (found := self._containers.get(container)) is not None:
            found.kill()
            life = self._lives[found.spec.id]
            await asyncio.wait((life,), timeout=REMOVAL_TIMEOUT_S)
            if not life.done():
                raise RpcError(StatusCode.INTERNAL, f"container {container}: its processes don't end")

    def _open_port(self, container: Container, code: Code, number: int) -> OpenPort | None:
        device = self._ports.get(number)
        if device is None or code.concurrency > 1 or not self._runtimes[container.spec.runtime].reads_ports:
            return None
        try:
            return open_container_port(number, device)
        except OSError as error:
            log.warning("container %s gets no port: %s", code.name, error)
            return None

    def _check_unused(self, container: str) -> None:
        if container in self._slots or container in self._containers:
            raise RpcError(StatusCode.ALREADY_EXISTS, f"container: {container} exists already, or is being removed")

    def _find(self, container: str, wanted: State) -> Container:
        found = self._containers.get(container)
        if found is None or found.state is State.GONE or found.is_killed:
            raise RpcError(
                StatusCode.NOT_FOUND, f"container: there is no {container}; list the containers to see which are"
            )
        if found.state is not wanted:
            state, must = found.state.name.lower(), wanted.name.lower()
            raise RpcError(StatusCode.FAILED_PRECONDITION, f"container: {container} is {state}; it must be {must}")
        return found

    async def _live(self, container: Container, end: "asyncio.Future[int]") -> None:
        """Waits for the end of a container, and removes what is left of it."""
        code = await end
        is_alone = container.state in (State.BLANK, State.IDLE) and not container.is_killed
        is_surprise = is_alone or container.is_given_up
        if container.port_number and not container.is_killed:
            self._left[container.id] = container
            if len(self._left) > MAX_LEFT:
                self._left.popitem(last=False)
        ended = container.finish(code)
        if is_surprise:
            self._events.exited(container.id, ended.reason)
        try:
            await container.resources.aclose()
        except OSError:
            log.exception("container %s left something behind", container.id)
        finally:
            del self._containers[container.id], self._lives[container.spec.id]
