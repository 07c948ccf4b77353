"""Simulated frontends: calls come in, the real lease keeping of the frontend finds them containers, hosts run them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from stoker_frontend.lease_pool import Lease
from stoker_frontend.lease_source import Grant, LoadFailure, Renewal
from stoker_frontend.leases import Leases
from stoker_frontend.routes import Version
from stoker_frontend.runs import Start
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.scheduler.v1 import capacity_pb2
from stoker_scheduler.service import CapacityServicer
from stoker_service.background import background
from stoker_service.errors import StokerError
from stoker_service.metadata import Context

from tests.simulation.functions import Call
from tests.simulation.hosts import SimulatedHost

IDLE_S = 5.0
"""How long an unused lease is kept, in seconds: the frontend's own default."""
ATTEMPTS = 4
"""How many containers are tried where leases turn out to be stale, as in the frontend."""

Response = TypeVar("Response")


class CallMeter(Protocol):
    """What is told of calls."""

    def began(self, call: Call, start: Start, vm_ready_s: float) -> None:
        """A call found its container, in a VM that had been made at that time."""
        ...

    def leased(self) -> None:
        """The scheduler granted a lease."""
        ...

    def ended(self, call: Call, how: str) -> None:
        """A call has ended: `answered`, `lost`, `cancelled`, or the reason for which it was not run."""
        ...


class SimulatedFrontend:
    """One frontend process, from `start` to `die`."""

    def __init__(
        self,
        holder: str,
        capacity: CapacityServicer,
        hosts: Mapping[str, SimulatedHost],
        meter: CallMeter,
        delay_s: Callable[[], float],
    ) -> None:
        """Begins stopped.

        Args:
            holder: Its id.
            capacity: The scheduler.
            hosts: The hosts by id.
            meter: Told of calls.
            delay_s: How long the next message to the scheduler takes, in seconds.
        """
        self.holder = holder
        self._source = _Scheduler(holder, capacity, delay_s, meter.leased)
        self._hosts = hosts
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._stack = AsyncExitStack()
        self._waiting: dict[Call, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Starts the process."""
        self._background = await self._stack.enter_async_context(background())
        self._leases = Leases(self._source, self._background, idle_s=IDLE_S, wait_s=60.0, max_asking=32)

    async def die(self) -> None:
        """Kills the process: what it had is forgotten, and hosts notice by their streams."""
        await self._stack.aclose()
        for host in self._hosts.values():
            host.end_leases_of(self.holder)

    def invoke(self, call: Call) -> None:
        """Takes in a call."""
        call.attempts += 1
        lease = self._leases.take(call.function.uid) if call.attempts == 1 else None
        if lease is not None:
            self._run(call, lease, Start.WARM)
        else:
            self._waiting[call] = self._background.start(self._wait(call), f"call {call.number}")

    def cancel(self, call: Call) -> None:
        """The caller goes away, if it still waits for a container."""
        if waiting := self._waiting.get(call):
            waiting.cancel()

    def drop_host(self, host: str) -> None:
        """The streams to a host have broken."""
        self._leases.drop_host(host)

    async def _wait(self, call: Call) -> None:
        try:
            answer = await self._leases.wait(call.function.version, call.deadline_s)
        except StokerError as error:
            self._meter.ended(call, error.reason)
        except asyncio.CancelledError:
            self._meter.ended(call, "cancelled")
            raise
        else:
            match answer:
                case Grant(lease, start):
                    self._run(call, lease, start)
                case LoadFailure():
                    self._meter.ended(call, "load failure")
        finally:
            # A call whose lease was stale waits again, by another task.
            if self._waiting.get(call) is asyncio.current_task():
                del self._waiting[call]

    def _run(self, call: Call, lease: Lease, start: Start) -> None:
        host = self._hosts[lease.host]
        if host.inventory.start(lease.container, lease.id, call.run_s, partial(self._ended, call, lease)):
            self._meter.began(call, start, host.inventory.vms[lease.vm].ready_s)
            return
        self._leases.drop(lease, is_broken=False)
        if call.attempts < ATTEMPTS:
            self.invoke(call)
        else:
            self._meter.ended(call, "LEASES_STALE")

    def _ended(self, call: Call, lease: Lease, is_finished: bool) -> None:
        if is_finished:
            self._leases.give_back(lease)
        else:
            self._leases.drop(lease, is_broken=True)
        self._meter.ended(call, "answered" if is_finished else "lost")


class _Scheduler:
    """The scheduler's own servicer, called without a network, as the frontend's `LeaseSource`."""

    def __init__(
        self, holder: str, capacity: CapacityServicer, delay_s: Callable[[], float], leased: Callable[[], None]
    ) -> None:
        self._holder = holder
        self._capacity = capacity
        self._delay_s = delay_s
        self._leased = leased
        self._specs: dict[str, codestore_pb2.VersionSpec] = {}

    def is_away(self) -> bool:
        return False

    async def acquire(self, version: Version, wait_s: float) -> Grant | LoadFailure:
        spec = self._specs.get(version.uid)
        if spec is None:
            spec = self._specs[version.uid] = codestore_pb2.VersionSpec.FromString(version.spec)
        request = capacity_pb2.AcquireContainerRequest(spec=spec, holder=self._holder)
        response = await self._call(self._capacity.AcquireContainer, request, wait_s)
        self._leased()
        lease = response.lease
        return Grant(
            Lease(
                lease.id,
                version.uid,
                lease.container,
                lease.vm,
                lease.host,
                lease.host_address,
                min(lease.concurrency or version.concurrency, version.concurrency),
            ),
            Start(response.start),
            response.init_ms,
            lease.ttl_ms / 1000,
        )

    async def release(self, lease_id: str, *, is_broken: bool) -> None:
        request = capacity_pb2.ReleaseContainerRequest(lease_id=lease_id, broken=is_broken)
        await self._call(self._capacity.ReleaseContainer, request, None)

    async def renew(self, lease_ids: Sequence[str]) -> Renewal:
        request = capacity_pb2.RenewLeasesRequest(lease_ids=lease_ids)
        response = await self._call(self._capacity.RenewLeases, request, None)
        return Renewal(tuple(response.ended_lease_ids), response.ttl_ms / 1000)

    async def _call(
        self, method: Callable[[Any, Context], Awaitable[Response]], request: object, wait_s: float | None
    ) -> Response:
        if delay_s := self._delay_s():
            await asyncio.sleep(delay_s)
            wait_s = None if wait_s is None else max(0.0, wait_s - delay_s)
        return await method(request, cast("Context", _CallContext(wait_s)))


class _CallContext:
    """What a servicer is told of a call."""

    def __init__(self, remaining_s: float | None) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self._remaining_s
