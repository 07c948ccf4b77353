"""One VM's guest agent, as typed calls. The only place that knows the guest's protos beside `guest_channel.py`."""

import asyncio
import secrets
import time
from collections.abc import Sequence

import structlog
from stoker_protos.guest.v1 import guest_pb2

from stoker_hostagent import vm_errors
from stoker_hostagent.container_port import ContainerPort, PortLost, PortMisused, Result
from stoker_hostagent.guest_channel import GuestChannel
from stoker_hostagent.guest_messages import (
    Code,
    Failure,
    GuestContainer,
    GuestFacts,
    GuestSpan,
    Invocation,
    InvokeResult,
    Loaded,
)
from stoker_hostagent.guest_ports import GuestPorts

log = structlog.get_logger()

CALL_S = 30.0
"""How long a guest has for what it does by itself, in seconds. Under TCG, `crun run` takes 0.6 s."""
CREATE_S = 75.0
"""How long a guest has for making a container, in seconds. It gives a language runtime 60 itself. With 30, templates
were given up on a host with a load of 16 (TCG, 2 cores, November 2026)."""
GRACE_S = 10.0
"""How long over the time it was given itself a guest may take, in seconds, to load code or run an invocation."""
QUIESCE_S = 60.0
"""How long a guest has for becoming small, in seconds. 512 MiB take 4 s under TCG on a busy host."""
CLOCK_ERROR_S = 0.1
"""How far a guest's clock may be off, in seconds."""
_CLOCK_ATTEMPTS = 5
_ENTROPY_BYTES = 64
_TEMPLATE_HOSTNAME = "template"
EXIT = 3
"""`FUNCTION_ERROR_KIND_EXIT` of `stoker.v1.FunctionErrorKind`."""
_LONG_AGO_UNIX_NS = 1_600_000_000 * 10**9
"""In the year 2020."""


class Guest:
    """The guest agent of one VM.

    Every call raises `StokerError`: GUEST_UNREACHABLE where the guest cannot be reached or does not answer in time
    (what was asked for may have happened), `GUEST_<gRPC code>` (GUEST_NOT_FOUND, …) where the guest agent refused.
    Cancelling a call cancels it in the guest; the container of an invocation is killed then, if it had that to itself.
    """

    def __init__(self, channel: GuestChannel, ports: GuestPorts | None = None) -> None:
        self._channel = channel
        self._ports = ports or GuestPorts(())

    async def wait_answer(self) -> GuestFacts:
        """What the guest says of itself, as soon as it has booted. The caller sets the limit."""
        answer = await self._channel.wait_answer()
        return GuestFacts(answer.image, answer.boot_id, answer.container_memory_mib, tuple(answer.runtimes))

    async def configure(self, hostname: str, machine_id: str) -> None:
        """Gives the guest its identity: host name, machine id, fresh randomness, the time now.

        The time is right to `CLOCK_ERROR_S`. A guest that takes too long for its answer, so that nobody knows when it
        has set its clock, is told again: then the time that will be when half as long has passed.
        """
        ahead_s = 0.0
        for _ in range(_CLOCK_ATTEMPTS):
            begun_s = time.monotonic()
            await self._configure(hostname, machine_id, time.time_ns() + int(ahead_s * 1e9))
            took_s = time.monotonic() - begun_s
            if max(ahead_s, took_s - ahead_s) <= CLOCK_ERROR_S:
                return
            ahead_s = min(took_s / 2, CLOCK_ERROR_S)
        log.warning("guest.clock_unsure", hostname=hostname)

    async def set_back(self) -> None:
        """Prepares the guest for being saved: for all that is made in it from now on, the time is long ago.

        OpenSSL's random generators draw a new seed from the kernel when an hour has passed since the last. So each
        process of each clone does so, when the clone is told the time.
        """
        await self._configure(_TEMPLATE_HOSTNAME, secrets.token_hex(16), _LONG_AGO_UNIX_NS)

    async def quiesce(self) -> None:
        """Makes the guest small and still, before it is saved."""
        await self._channel.call("Quiesce", guest_pb2.QuiesceRequest(), guest_pb2.QuiesceResponse, QUIESCE_S)

    async def mount_share(self, tag: str) -> None:
        """Mounts an attached virtiofs share, read-only, under its tag as name."""
        request = guest_pb2.MountShareRequest(tag=tag, name=tag, read_only=True)
        await self._channel.call("MountShare", request, guest_pb2.MountShareResponse, CALL_S)

    async def create_container(
        self, container: str, runtime: str, memory_mib: int, tmp_mib: int, *, is_in_background: bool = False
    ) -> None:
        """Makes a blank container: the language runtime started, no code loaded.

        One made in the background leaves the processor to others until it gets its code.
        """
        request = guest_pb2.CreateContainerRequest(
            container=container,
            runtime=runtime,
            memory_mib=memory_mib,
            tmp_mib=tmp_mib,
            in_background=is_in_background,
        )
        await self._channel.call("CreateContainer", request, guest_pb2.CreateContainerResponse, CREATE_S)

    async def load_code(self, container: str, code: Code) -> Loaded:
        """Makes a blank container the function's, under another id, and imports the handler."""
        loaded = code.name or container
        port = self._ports.open(loaded) if code.concurrency == 1 else 0
        request = guest_pb2.LoadCodeRequest(
            container=container,
            share=code.share,
            path=code.path,
            handler=code.handler,
            environment=code.environment,
            timeout_ms=code.timeout_ms,
            identity=guest_pb2.FunctionIdentity(
                tenant=code.identity.tenant,
                function=code.identity.function,
                version=code.identity.version,
                memory_mib=code.identity.memory_mib,
            ),
            label=code.label,
            name=code.name,
            concurrency=code.concurrency,
            layers=code.layers,
            memory_mib=code.memory_mib,
            tmp_mib=code.tmp_mib,
            port=port,
        )
        limit_s = code.timeout_ms / 1000 + GRACE_S
        has_port = False
        try:
            answer = await self._channel.call("LoadCode", request, guest_pb2.LoadCodeResponse, limit_s)
            has_port = answer.port > 0
        finally:
            if not has_port:
                self._ports.close(loaded)
        return Loaded(_failure(answer), _spans(answer))

    async def invoke(self, invocation: Invocation) -> InvokeResult:
        """Runs an invocation in a loaded container."""
        if (port := self._ports.find(invocation.container)) is not None:
            return await self._invoke_by_port(port, invocation)
        request = guest_pb2.InvokeRequest(
            container=invocation.container,
            invocation_id=invocation.id,
            payload=invocation.payload,
            content_type=invocation.content_type,
            timeout_ms=invocation.timeout_ms,
            traceparent=invocation.traceparent,
            max_response_bytes=invocation.max_response_bytes,
        )
        limit_s = invocation.timeout_ms / 1000 + GRACE_S
        answer = await self._channel.call("Invoke", request, guest_pb2.InvokeResponse, limit_s)
        return _outcome(answer)

    async def _invoke_by_port(self, port: ContainerPort, invocation: Invocation) -> InvokeResult:
        begun_ns = time.monotonic_ns()
        span_id = secrets.token_hex(8)
        try:
            result = await port.send(invocation, _child_traceparent(invocation.traceparent, span_id))
            if result is None:
                elapsed_ms = (time.monotonic_ns() - begun_ns) // 1_000_000
                result = await self._finish(port, invocation, elapsed_ms)
        except PortMisused as misused:
            failure = Failure(EXIT, "RuntimeMisused", str(misused), ())
            return InvokeResult(b"", "", failure, time.monotonic_ns() - begun_ns, b"", is_container_lost=True, spans=())
        except PortLost as lost:
            raise vm_errors.guest_unreachable(self._channel.vm_id, str(lost)) from lost
        finally:
            port.forget()
        if isinstance(result, InvokeResult):
            return result
        span = GuestSpan("handler", result.started_unix_ns, result.started_unix_ns + result.run_ns, span_id)
        return InvokeResult(
            result.payload, result.content_type, None, result.run_ns, b"", is_container_lost=False, spans=(span,)
        )

    async def _finish(self, port: ContainerPort, invocation: Invocation, elapsed_ms: int) -> InvokeResult | Result:
        """Asks the guest agent how an invocation ends, while the runtime may still answer by itself."""
        request = guest_pb2.FinishInvocationRequest(
            container=invocation.container,
            invocation_id=invocation.id,
            timeout_ms=invocation.timeout_ms,
            elapsed_ms=elapsed_ms,
            max_response_bytes=invocation.max_response_bytes,
        )
        limit_s = invocation.timeout_ms / 1000 + GRACE_S
        call = self._channel.call("FinishInvocation", request, guest_pb2.FinishInvocationResponse, limit_s)
        asking, late = asyncio.create_task(call), asyncio.create_task(port.late_result())
        try:
            await asyncio.wait((asking, late), return_when=asyncio.FIRST_COMPLETED)
            return _outcome(asking.result().outcome) if asking.done() else late.result()
        finally:
            for task in (asking, late):
                task.cancel()
            await asyncio.wait((asking, late))

    async def destroy_container(self, container: str) -> None:
        """Kills a container and removes all it left. An unknown container is no error."""
        request = guest_pb2.DestroyContainerRequest(container=container)
        await self._channel.call("DestroyContainer", request, guest_pb2.DestroyContainerResponse, CALL_S)
        self._ports.close(container)

    def container_exited(self, container: str) -> bool:
        """Takes note that a container has ended by itself; returns whether an invocation that runs there will tell."""
        port = self._ports.find(container)
        if port is not None and port.look_at_agent():
            return True
        self._ports.close(container)
        return False

    def close(self) -> None:
        """Gives up the containers' ports: whoever waits for an answer there learns that it does not come."""
        self._ports.close_all()

    async def list_containers(self) -> Sequence[GuestContainer]:
        """Lists the containers, as after a restart of the host agent."""
        request = guest_pb2.ListContainersRequest()
        answer = await self._channel.call("ListContainers", request, guest_pb2.ListContainersResponse, CALL_S)
        return [
            GuestContainer(each.container, each.is_loaded and self._can_reach(each), each.label, each.runtime)
            for each in answer.containers
        ]

    def _can_reach(self, listed: guest_pb2.ListContainersResponse.Container) -> bool:
        return not listed.port or self._ports.adopt(listed.container, listed.port)

    async def _configure(self, hostname: str, machine_id: str, unix_time_ns: int) -> None:
        request = guest_pb2.ConfigureRequest(
            hostname=hostname,
            machine_id=machine_id,
            unix_time_ns=unix_time_ns,
            entropy=secrets.token_bytes(_ENTROPY_BYTES),
        )
        await self._channel.call("Configure", request, guest_pb2.ConfigureResponse, CALL_S)


def _outcome(answer: guest_pb2.InvokeResponse) -> InvokeResult:
    return InvokeResult(
        answer.payload,
        answer.content_type,
        _failure(answer),
        answer.run_ns,
        answer.log_tail,
        answer.container_lost,
        _spans(answer),
    )


def _child_traceparent(traceparent: str, span_id: str) -> str:
    """The W3C trace context that makes whatever follows a child of that span; empty where there is no trace."""
    parts = traceparent.split("-")
    return f"{parts[0]}-{parts[1]}-{span_id}-{parts[3]}" if len(parts) == 4 else ""


def _failure(answer: guest_pb2.LoadCodeResponse | guest_pb2.InvokeResponse) -> Failure | None:
    if not answer.HasField("failure"):
        return None
    told = answer.failure
    return Failure(told.kind, told.type, told.message, tuple(told.stack_trace))


def _spans(answer: guest_pb2.LoadCodeResponse | guest_pb2.InvokeResponse) -> tuple[GuestSpan, ...]:
    return tuple(GuestSpan(span.name, span.start_unix_ns, span.end_unix_ns, span.span_id) for span in answer.spans)
