"""The guest service: what the host asks, translated, done, and translated back."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from stoker_ttrpc.errors import Code as StatusCode
from stoker_ttrpc.errors import RpcError
from stoker_ttrpc.server import Method, StreamMethod, UnaryMethod

from agent import checks, identity, mounts, quiescence, uevents
from agent.container import Answer, Code, Expected, Identity, Invocation, State
from agent.containers import Containers
from agent.events import Events, Exited, Lines
from agent.failures import Failure
from agent.runtimes import vm_memory_mib
from agent.tracing import Span

NAME = "stoker.guest.v1.GuestService"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

RESERVED_MIB = 80
"""What the kernel and this agent need: 40 of them while nothing happens (QEMU, 512 MiB, November 2026), the rest for
the largest requests and responses on their way."""

ATTACHED_S = 10.0
"""How long a share that is to be mounted may take to be attached, in seconds."""
MIN_ENTROPY_BYTES, MAX_ENTROPY_BYTES = 32, 4096
FIRST_SANE_TIME_NS = 1_577_836_800 * 10**9
"""The year 2020: an earlier clock is a mistake."""
LAST_SANE_TIME_NS = 2**63 - 1
MAX_MEMORY_MIB = 1024 * 1024
MAX_LAYERS = 5
MAX_CONCURRENCY = 100
MAX_TIMEOUT_MS = 24 * 3600 * 1000
MAX_RESPONSE_BYTES = 7 * 1024 * 1024
"""So that a response fits into a frame, with what goes with it."""


class GuestService:
    """Answers the host."""

    def __init__(self, messages: Any, containers: Containers, events: Events, image: str) -> None:
        """Makes the service.

        Args:
            messages: The classes of its messages, by name.
            containers: The containers of this VM.
            events: What happens by itself.
            image: The id of the guest image.
        """
        self._messages = messages
        self._containers = containers
        self._events = events
        self._image = image
        self._boot_id = BOOT_ID.read_text().strip()

    def methods(self) -> Mapping[str, Mapping[str, Method]]:
        """What a server shall answer."""
        unary = {
            "Hello": self.hello,
            "Configure": self.configure,
            "Quiesce": self.quiesce,
            "MountShare": self.mount_share,
            "CreateContainer": self.create_container,
            "LoadCode": self.load_code,
            "FinishInvocation": self.finish_invocation,
            "DestroyContainer": self.destroy_container,
            "ListContainers": self.list_containers,
        }
        requests = {name: getattr(self._messages, f"{name}Request") for name in (*unary, "Invoke", "Watch")}
        methods: dict[str, Method] = {name: UnaryMethod(requests[name], answer) for name, answer in unary.items()}
        methods["Invoke"] = UnaryMethod(requests["Invoke"], self.invoke, is_eager=True)
        return {NAME: {**methods, "Watch": StreamMethod(requests["Watch"], self.watch)}}

    async def hello(self, _: Any) -> Any:
        """Says who is there."""
        return self._messages.HelloResponse(
            image=self._image,
            boot_id=self._boot_id,
            container_memory_mib=vm_memory_mib() - RESERVED_MIB,
            runtimes=self._containers.runtimes,
        )

    async def configure(self, request: Any) -> Any:
        """Gives the VM its identity."""
        hostname = checks.name("hostname", request.hostname)
        now_ns = checks.within("unix_time_ns", request.unix_time_ns, FIRST_SANE_TIME_NS, LAST_SANE_TIME_NS)
        checks.within("entropy, its length", len(request.entropy), MIN_ENTROPY_BYTES, MAX_ENTROPY_BYTES)
        machine_id = checks.machine_id("machine_id", request.machine_id)
        identity.set_clock(now_ns)
        identity.add_entropy(request.entropy)
        identity.set_hostname(hostname)
        if machine_id:
            identity.set_machine_id(machine_id)
        return self._messages.ConfigureResponse()

    async def quiesce(self, _: Any) -> Any:
        """Makes the VM small and still."""
        quiescence.quiesce()
        return self._messages.QuiesceResponse()

    async def mount_share(self, request: Any) -> Any:
        """Mounts a share, which may be about to be attached."""
        tag = checks.name("tag", request.tag)
        directory = mounts.SHARES / checks.name("name", request.name)
        refusal: OSError | None = None
        with suppress(TimeoutError), uevents.listening() as devices:
            async with asyncio.timeout(ATTACHED_S):
                while True:
                    try:
                        mounts.mount_share(tag, directory, is_read_only=request.read_only)
                    except OSError as error:
                        refusal = error
                    else:
                        return self._messages.MountShareResponse()
                    await devices.wait()
        raise RpcError(StatusCode.NOT_FOUND, f"tag: the share {tag} can't be mounted; is it attached? {refusal}")

    async def create_container(self, request: Any) -> Any:
        """Makes a blank container."""
        await self._containers.create(
            checks.name("container", request.container),
            request.runtime,
            checks.within("memory_mib", request.memory_mib, 16, MAX_MEMORY_MIB),
            checks.within("tmp_mib", request.tmp_mib, 1, MAX_MEMORY_MIB),
            is_in_background=request.in_background,
        )
        return self._messages.CreateContainerResponse()

    async def load_code(self, request: Any) -> Any:
        """Loads code into a container."""
        share = mounts.SHARES / checks.name("share", request.share)
        directory = share / checks.relative_path("path", request.path)
        checks.within("layers, their number", len(request.layers), 0, MAX_LAYERS)
        layers = [share / checks.relative_path("layers", path) for path in request.layers]
        for wanted in (directory, *layers):
            if not wanted.is_dir():
                raise RpcError(StatusCode.NOT_FOUND, f"path: there is no directory {wanted} in the share")
        of = request.identity
        code = Code(
            directory,
            request.handler,
            checks.environment("environment", request.environment),
            checks.within("timeout_ms", request.timeout_ms, 1, MAX_TIMEOUT_MS),
            Identity(of.tenant, of.function, of.version, of.memory_mib),
            request.label,
            checks.name("name", request.name or request.container),
            checks.within("memory_mib", request.memory_mib, 0, MAX_MEMORY_MIB),
            checks.within("tmp_mib", request.tmp_mib, 0, MAX_MEMORY_MIB),
            checks.within("concurrency", request.concurrency or 1, 1, MAX_CONCURRENCY),
            layers,
        )
        loaded = await self._containers.load(checks.name("container", request.container), code, request.port)
        return self._messages.LoadCodeResponse(
            failure=self._failure(loaded.failure),
            spans=[self._span(span) for span in loaded.spans],
            port=loaded.port_number,
        )

    async def invoke(self, request: Any) -> Any:
        """Runs an invocation."""
        invocation = Invocation(
            checks.invocation_id("invocation_id", request.invocation_id),
            request.payload,
            request.content_type,
            checks.within("timeout_ms", request.timeout_ms, 1, MAX_TIMEOUT_MS),
            checks.traceparent("traceparent", request.traceparent),
            checks.within("max_response_bytes", request.max_response_bytes, 1, MAX_RESPONSE_BYTES),
        )
        return self._outcome(await self._containers.invoke(checks.name("container", request.container), invocation))

    async def finish_invocation(self, request: Any) -> Any:
        """Waits for the end of an invocation that was sent by another way."""
        expected = Expected(
            checks.invocation_id("invocation_id", request.invocation_id),
            checks.within("timeout_ms", request.timeout_ms, 1, MAX_TIMEOUT_MS),
            checks.within("elapsed_ms", request.elapsed_ms, 0, MAX_TIMEOUT_MS),
            checks.within("max_response_bytes", request.max_response_bytes, 1, MAX_RESPONSE_BYTES),
        )
        answer = await self._containers.finish(checks.name("container", request.container), expected)
        return self._messages.FinishInvocationResponse(outcome=self._outcome(answer))

    def _outcome(self, answer: Answer) -> Any:
        return self._messages.InvokeResponse(
            payload=answer.payload,
            content_type=answer.content_type,
            failure=self._failure(answer.failure),
            run_ns=answer.run_ns,
            log_tail=answer.log_tail,
            container_lost=answer.is_container_lost,
            spans=[self._span(span) for span in answer.spans],
        )

    async def destroy_container(self, request: Any) -> Any:
        """Kills a container."""
        await self._containers.destroy(checks.name("container", request.container))
        return self._messages.DestroyContainerResponse()

    async def list_containers(self, _: Any) -> Any:
        """Lists the containers."""
        response = self._messages.ListContainersResponse()
        for container in self._containers.all():
            is_loaded = container.state in (State.IDLE, State.BUSY) and not container.is_under_way
            response.containers.add(
                container=container.id,
                is_loaded=is_loaded,
                label=container.label,
                runtime=container.spec.runtime,
                port=container.port_number,
            )
        return response

    async def watch(self, _: Any) -> AsyncGenerator[Any, None]:
        """Streams what happens by itself."""
        async with aclosing(self._events.read()) as events:
            async for event in events:
                match event:
                    case Exited(container, reason):
                        exited = self._messages.ContainerExited(container=container, reason=reason)
                        yield self._messages.WatchResponse(exited=exited)
                    case Lines(container, invocation_id, stream, lines, dropped):
                        printed = self._messages.LogLines(
                            container=container,
                            invocation_id=invocation_id,
                            stream=stream,
                            lines=lines,
                            dropped=dropped,
                        )
                        yield self._messages.WatchResponse(lines=printed)

    def _failure(self, failure: Failure | None) -> Any:
        if failure is None:
            return None
        return self._messages.FunctionFailure(
            kind=failure.kind, type=failure.type, message=failure.message, stack_trace=failure.stack_trace
        )

    def _span(self, span: Span) -> Any:
        end_unix_ns = span.start_unix_ns + span.duration_ns
        return self._messages.GuestSpan(
            name=span.name, start_unix_ns=span.start_unix_ns, end_unix_ns=end_unix_ns, span_id=span.id
        )
