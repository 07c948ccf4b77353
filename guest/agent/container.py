"""One container: blank, then with code loaded, one invocation at a time or several at once, then gone."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import Enum, auto
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from agent import failures, hostnames, mounts, oci_config
from agent.cgroups import Cgroup
from agent.container_ports import OpenPort
from agent.direct import Direct
from agent.failures import Ended, Failure
from agent.mounts import Windows
from agent.oci_config import ContainerSpec
from agent.output import Output
from agent.runtime_channel import ChannelClosed, ChannelMisused, Header, Message, RuntimeChannel
from agent.sharing import Sharing
from agent.tracing import Span, child_traceparent, is_recorded

READY_TIMEOUT_S = 60.0
"""How long a runtime may take to start: Node.js takes 3 s under emulation while nothing else runs."""

END_TIMEOUT_S = 10.0
"""How long a killed process may take to be gone."""

REMOVAL_TIMEOUT_S = 60.0
"""How long it may take until nothing of a killed container is left."""

CLOSED_TIMEOUT_S = 1.0
"""How long a process may live on that has closed the runtime's connection, before it is killed."""

PROMPT_MS = 1
"""How long everything else may wait for a handler that runs alone. Most are done by then, which saves a task, a timer
and two rounds of the event loop."""

CONTENT_TYPES = ("application/json", "application/octet-stream")


class State(Enum):
    """How far a container is."""

    STARTING = auto()
    BLANK = auto()
    LOADING = auto()
    IDLE = auto()
    BUSY = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a function is told of itself."""

    tenant: str
    function: str
    version: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Code:
    """What is loaded into a container."""

    directory: Path
    handler: str
    environment: Mapping[str, str]
    timeout_ms: int
    identity: Identity
    label: bytes
    name: str
    """The id that the container has from now on."""
    memory_mib: int
    """The limit on its memory from now on; 0 leaves it as it is."""
    tmp_mib: int
    """The size of its `/tmp` from now on; 0 leaves it as it is."""
    concurrency: int
    """How many invocations it runs at once."""
    layers: Sequence[Path] = ()
    """What it sees together at `/opt`, each over those before it."""


# These two are not frozen, since a frozen one takes three times as long to make.
@dataclass(slots=True)
class Invocation:
    """What a handler is asked."""

    id: str
    payload: bytes
    content_type: str
    timeout_ms: int
    traceparent: str
    max_response_bytes: int


@dataclass(frozen=True, slots=True)
class Expected:
    """An invocation that came by the container's own port, and has not been answered there."""

    id: str
    timeout_ms: int
    elapsed_ms: int
    """How much of its time is over."""
    max_response_bytes: int


@dataclass(slots=True)
class Answer:
    """How an invocation ended."""

    payload: bytes
    content_type: str
    failure: Failure | None
    run_ns: int
    log_tail: bytes
    is_container_lost: bool
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """How loading code ended."""

    failure: Failure | None
    """Why it can't be used, where it can't."""
    spans: tuple[Span, ...]
    port_number: int = 0
    """The port that it has for itself; 0 for none."""


class Container:
    """A container whose runtime is starting or has started."""

    def __init__(
        self,
        spec: ContainerSpec,
        pid: int,
        windows: Windows,
        cgroup: Cgroup,
        channel: RuntimeChannel,
        output: Output,
        resources: AsyncExitStack,
    ) -> None:
        """Takes over what has been made for the container.

        Args:
            spec: What it was made as.
            pid: Its first process.
            windows: The directories over which its code and its layers are mounted.
            cgroup: Its control group.
            channel: The connection to its runtime.
            output: What it prints.
            resources: Removes all that was made for it.
        """
        self.spec = spec
        self.id = spec.id
        self.memory_mib = spec.memory_mib
        self.state = State.STARTING
        self.label = b""
        self.is_killed = False
        self.is_given_up = False
        """Whether it ended by what one of several invocations did, for whose end nobody may have waited."""
        self.port_number = 0
        """The port of its own by which it gets its invocations; 0 for none."""
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self.resources = resources
        self._pid = pid
        self._windows = windows
        self._cgroup = cgroup
        self._channel = channel
        self._output = output
        self._sharing: Sharing | None = None
        self._direct: Direct | None = None

    async def wait_until_ready(self) -> Failure | None:
        """Waits for the runtime; returns why it can't be used, where it can't."""
        reply = await self._exchange(None, b"", READY_TIMEOUT_S * 1000, 0, "its start")
        if isinstance(reply, Failure):
            return reply
        if reply.type != "ready":
            return await self._misused(f"a message of type {reply.type!r}")
        self.state = State.BLANK
        return None

    def rename(self, name: str, printed: Callable[[str, str, list[str]], None]) -> None:
        """Gives it another id, under which what it prints is told from now on."""
        self.id = name
        self._output.redirect(printed)

    async def load(self, code: Code, port: OpenPort | None = None) -> Loaded:
        """Makes it the function's: its limits, its host name, its code; then imports the handler.

        Args:
            code: What is loaded.
            port: The port from which the runtime is to read invocations. The caller closes it.

        Raises:
            OSError: The code can't be mounted, or the limits can't be set; it is of no use then.
        """
        self.state = State.LOADING
        self.label = code.label
        bind, limits, load = Span("bind"), Span("limits"), Span("import")
        with bind:
            mounts.show_in_window(code.directory, self._windows.code)
            if code.layers:
                mounts.stack_in_window(code.layers, self._windows.layers)
        with limits:
            self._make_functions(code)
        identity = code.identity
        header = {
            "type": "load",
            "code": oci_config.CODE,
            "layers": oci_config.LAYERS if code.layers else "",
            "handler": code.handler,
            "environment": dict(code.environment),
            "function_name": identity.function,
            "function_version": str(identity.version),
            "tenant": identity.tenant,
            "memory_limit_mib": identity.memory_mib,
            "log_stream": f"{identity.function}/{identity.version}/{self.id}",
            "concurrency": code.concurrency,
            "has_port": port is not None,
        }
        self._output.begin("")
        with load:
            reply = await self._exchange(header, b"", code.timeout_ms, 0, "the import of its code")
        self._output.end()
        spans = (bind, limits, load)
        if isinstance(reply, Failure):
            return Loaded(failures.while_loading(reply), spans)
        match reply.type:
            case "loaded":
                self.state = State.IDLE
                if code.concurrency > 1:
                    self._sharing = Sharing(self._channel, code.concurrency, self._output.tell, self._give_up)
                if port is not None:
                    self._direct = Direct.begin(self._channel, self._output, port.file)
                    self.port_number = port.number
                return Loaded(None, spans, self.port_number)
            case "failed":
                return Loaded(failures.while_loading(failures.from_runtime(reply.header)), spans)
            case other:
                return Loaded(failures.while_loading(await self._misused(f"a message of type {other!r}")), spans)

    def _make_functions(self, code: Code) -> None:
        """Gives it what a function's container has, where a blank one has it otherwise."""
        made = self.spec
        memory_mib, tmp_mib = code.memory_mib or made.memory_mib, code.tmp_mib or made.tmp_mib
        if memory_mib != made.memory_mib or made.is_in_background:
            self._cgroup.limit(oci_config.memory_limits(memory_mib))
            self.memory_mib = memory_mib
        if tmp_mib != made.tmp_mib:
            root = f"/proc/{self._pid}/root"
            mounts.resize_tmpfs(root + oci_config.HOME, tmp_mib)
            shared_mib = oci_config.shared_memory_mib(tmp_mib)
            if shared_mib != oci_config.shared_memory_mib(made.tmp_mib):
                mounts.resize_tmpfs(root + oci_config.SHARED_MEMORY, shared_mib)
        if self.id != made.id:
            hostnames.set_hostname_of(self._pid, self.id)

    @property
    def is_under_way(self) -> bool:
        """Whether an invocation that came by its own port is."""
        return self._direct is not None and self._direct.is_under_way

    @property
    def must_be_heard(self) -> bool:
        """Whether its runtime speaks without being asked, so that somebody must `listen`."""
        return self._sharing is not None or self._direct is not None

    @property
    def is_full(self) -> bool:
        """Whether it runs as many invocations at once as it may."""
        return self._sharing is not None and self._sharing.is_full

    def runs(self, invocation_id: str) -> bool:
        """Whether it runs this invocation among others."""
        return self._sharing is not None and self._sharing.runs(invocation_id)

    async def listen(self) -> None:
        """Takes what a runtime that must be heard sends, until it ends."""
        heard = self._sharing or self._direct
        if heard is None:
            return
        try:
            try:
                await heard.listen()
            except ChannelClosed:
                self.is_given_up |= not self.is_killed
                failure = failures.exited(await self._end(), "the invocation", self.memory_mib)
            except ChannelMisused as error:
                self.is_given_up |= not self.is_killed
                failure = await self._misused(str(error))
        except TimeoutError:
            failure = failures.misused("nothing after it was killed")
        heard.end(failure)

    def _give_up(self) -> None:
        self.is_given_up = True
        self.kill()

    async def invoke(self, invocation: Invocation, *, is_alone: bool) -> Answer:
        """Runs an invocation. If this task is cancelled, so is the invocation; one that runs alone, by killing all.

        Args:
            invocation: What the handler is asked.
            is_alone: Whether nothing else runs in the VM that would be held up while this is waited for.
        """
        span = Span("handler")
        header = _invoke_header(invocation, span)
        log_tail = b""
        if self._sharing is None:
            self.state = State.BUSY
            self._output.begin(invocation.id)
            with span:
                reply = await self._exchange(
                    header,
                    invocation.payload,
                    invocation.timeout_ms,
                    invocation.max_response_bytes,
                    "the invocation",
                    PROMPT_MS if is_alone else 0,
                )
        else:
            with span:
                reply, log_tail = await self._sharing.exchange(
                    invocation.id, header, invocation.payload, invocation.timeout_ms, invocation.max_response_bytes
                )
        payload, content_type, failure = await self._judge(reply, invocation.max_response_bytes)
        if self._sharing is None:
            log_tail = self._output.end()
        is_lost = self.is_killed or self.ended.done()
        if not is_lost:
            self.state = State.IDLE
        spans = (span,) if is_recorded(invocation.traceparent) else ()
        return Answer(payload, content_type, failure, span.duration_ns, log_tail, is_lost, spans)

    async def finish_invocation(self, expected: Expected) -> Answer:
        """Waits for the end of an invocation that came by its own port, where it has not ended there.

        If this task is cancelled, nothing happens to the invocation.
        """
        direct = self._direct
        if direct is None:
            raise ValueError("it has no port")
        span = Span("handler")
        with span:
            try:
                await asyncio.sleep(0)  # from here on this is a task
                async with asyncio.timeout(max(1, expected.timeout_ms - expected.elapsed_ms) / 1000):
                    reply: Message | Failure = await direct.answer(expected.id)
            except TimeoutError:
                self.kill()
                await self.wait_for_end()
                reply = failures.timed_out(expected.timeout_ms, "the invocation")
        if isinstance(reply, Message) and reply.body is not None and len(reply.body) > expected.max_response_bytes:
            reply.body = None
        payload, content_type, failure = await self._judge(reply, expected.max_response_bytes)
        log_tail = self._output.end_of(expected.id)
        span.duration_ns += expected.elapsed_ms * 1_000_000
        span.start_unix_ns -= expected.elapsed_ms * 1_000_000
        is_lost = self.is_killed or self.ended.done()
        return Answer(payload, content_type, failure, span.duration_ns, log_tail, is_lost, (span,))

    async def _judge(self, reply: Message | Failure, max_response_bytes: int) -> tuple[bytes, str, Failure | None]:
        """What a runtime's reply to an invocation means: payload, content type, failure."""
        if isinstance(reply, Failure):
            return b"", "", reply
        if reply.type == "failed":
            return b"", "", failures.from_runtime(reply.header)
        if reply.type != "result":
            return b"", "", await self._misused(f"a message of type {reply.type!r}")
        if reply.body is None:
            return b"", "", failures.response_too_large(max_response_bytes)
        content_type = reply.header.get("content_type")
        if content_type not in CONTENT_TYPES:
            return b"", "", await self._misused("a result without a known content type")
        return reply.body, content_type, None

    def kill(self) -> None:
        """Kills all its processes; `ended` tells when they are gone."""
        self.is_killed = True
        self._cgroup.kill()

    async def wait_for_end(self) -> Ended:
        """Waits for a process that has been killed.

        Raises:
            TimeoutError: It lives on.
        """
        await asyncio.sleep(0)  # from here on this is a task
        async with asyncio.timeout(END_TIMEOUT_S):
            return await asyncio.shield(self.ended)

    def finish(self, code: int) -> Ended:
        """Takes note that its process has ended with this code (below 0: by that signal)."""
        ended = Ended(code, self._cgroup.has_run_out_of_memory())
        self._output.close()
        self.state = State.GONE
        if not self.ended.done():
            self.ended.set_result(ended)
        return ended

    def last_output(self) -> str:
        """The last that it printed, for messages about a runtime that doesn't start."""
        return self._output.end().decode("utf-8", "replace").strip()

    async def _exchange(
        self,
        header: Header | bytes | None,
        body: bytes,
        timeout_ms: float,
        max_body_bytes: int,
        doing: str,
        prompt_ms: int = 0,
    ) -> Message | Failure:
        """Sends a message and waits for the runtime's answer, or for the end of the process.

        For the first `prompt_ms` everything else waits too.
        """
        try:
            if header is not None:
                self._channel.write(header, body)
            if prompt_ms and (reply := self._channel.receive_promptly(max_body_bytes, prompt_ms)) is not None:
                return reply
            await asyncio.sleep(0)  # as above
            async with asyncio.timeout(timeout_ms / 1000):
                await self._channel.sent()
                return await self._channel.receive(max_body_bytes)
        except TimeoutError:
            self.kill()
            await self.wait_for_end()
            return failures.timed_out(timeout_ms, doing)
        except ChannelClosed:
            return failures.exited(await self._end(), doing, self.memory_mib)
        except ChannelMisused as error:
            return await self._misused(str(error))
        except asyncio.CancelledError:
            self.kill()
            raise

    async def _misused(self, what: str) -> Failure:
        self.kill()
        await self.wait_for_end()
        return failures.misused(what)

    async def _end(self) -> Ended:
        try:
            async with asyncio.timeout(CLOSED_TIMEOUT_S):
                return await asyncio.shield(self.ended)
        except TimeoutError:
            self.kill()
            return await self.wait_for_end()


def _invoke_header(invocation: Invocation, span: Span) -> bytes:
    """What the runtime is told, as JSON, which is put together by hand since that takes a tenth of the time.

    All texts in it have been checked to need no quoting, but for the content type.
    """
    traceparent = child_traceparent(invocation.traceparent, span)
    return (
        f'{{"type":"invoke","invocation_id":"{invocation.id}","content_type":{quoted(invocation.content_type)},'
        f'"timeout_ms":{invocation.timeout_ms},"traceparent":"{traceparent}",'
        f'"max_response_bytes":{invocation.max_response_bytes}}}'
    ).encode()
