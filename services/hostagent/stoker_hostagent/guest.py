"""One VM's guest agent, as typed calls. The only place that knows the guest's protos beside `guest_channel.py`."""

import secrets
import time
from collections.abc import Sequence

import structlog
from stoker_protos.guest.v1 import guest_pb2

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

log = structlog.get_logger()

CALL_S = 30.0
"""How long a guest has for what it does by itself, in seconds. Under TCG, `crun run` takes 0.6 s."""
GRACE_S = 10.0
"""How long over the time it was given itself a guest may take, in seconds, to load code or run an invocation."""
QUIESCE_S = 60.0
"""How long a guest has for becoming small, in seconds. 512 MiB take 4 s under TCG on a busy host."""
CLOCK_ERROR_S = 0.1
"""How far a guest's clock may be off, in seconds."""
_CLOCK_ATTEMPTS = 5
_ENTROPY_BYTES = 64
_TEMPLATE_HOSTNAME = "template"
_LONG_AGO_UNIX_NS = 1_600_000_000 * 10**9
"""In the year 2020."""


class Guest:
    """The guest agent of one VM.

    Every call raises `StokerError`: GUEST_UNREACHABLE where the guest cannot be reached or does not answer in time
    (what was asked for may have happened), `GUEST_<gRPC code>` (GUEST_NOT_FOUND, …) where the guest agent refused.
    Cancelling a call cancels it in the guest; the container of an invocation is killed then, if it had that to itself.
    """

    def __init__(self, channel: GuestChannel) -> None:
        self._channel = channel

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
        await self._channel.call("CreateContainer", request, guest_pb2.CreateContainerResponse, CALL_S)

    async def load_code(self, container: str, code: Code) -> Loaded:
        """Makes a blank container the function's, under another id, and imports the handler."""
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
        )
        limit_s = code.timeout_ms / 1000 + GRACE_S
        answer = await self._channel.call("LoadCode", request, guest_pb2.LoadCodeResponse, limit_s)
        return Loaded(_failure(answer), _spans(answer))

    async def invoke(self, invocation: Invocation) -> InvokeResult:
        """Runs an invocation in a loaded container."""
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
        return InvokeResult(
            answer.payload,
            answer.content_type,
            _failure(answer),
            answer.run_ns,
            answer.log_tail,
            answer.container_lost,
            _spans(answer),
        )

    async def destroy_container(self, container: str) -> None:
        """Kills a container and removes all it left. An unknown container is no error."""
        request = guest_pb2.DestroyContainerRequest(container=container)
        await self._channel.call("DestroyContainer", request, guest_pb2.DestroyContainerResponse, CALL_S)

    async def list_containers(self) -> Sequence[GuestContainer]:
        """Lists the containers, as after a restart of the host agent."""
        request = guest_pb2.ListContainersRequest()
        answer = await self._channel.call("ListContainers", request, guest_pb2.ListContainersResponse, CALL_S)
        return [GuestContainer(each.container, each.is_loaded, each.label, each.runtime) for each in answer.containers]

    async def _configure(self, hostname: str, machine_id: str, unix_time_ns: int) -> None:
        request = guest_pb2.ConfigureRequest(
            hostname=hostname,
            machine_id=machine_id,
            unix_time_ns=unix_time_ns,
            entropy=secrets.token_bytes(_ENTROPY_BYTES),
        )
        await self._channel.call("Configure", request, guest_pb2.ConfigureResponse, CALL_S)


def _failure(answer: guest_pb2.LoadCodeResponse | guest_pb2.InvokeResponse) -> Failure | None:
    if not answer.HasField("failure"):
        return None
    told = answer.failure
    return Failure(told.kind, told.type, told.message, tuple(told.stack_trace))


def _spans(answer: guest_pb2.LoadCodeResponse | guest_pb2.InvokeResponse) -> tuple[GuestSpan, ...]:
    return tuple(GuestSpan(span.name, span.start_unix_ns, span.end_unix_ns, span.span_id) for span in answer.spans)
