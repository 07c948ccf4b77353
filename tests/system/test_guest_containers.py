"""What the guest agent promises of its containers, in a real VM: life, limits, hardening, and what is told of failures.

The VM is booted once; each test connects anew, as a host agent that was restarted does.
"""

import asyncio
import json
import textwrap
import time
from collections.abc import AsyncGenerator, Iterator
from functools import partial

import pytest
from stoker_protos.guest.v1 import guest_pb2
from stoker_protos.v1 import invocations_pb2 as public
from stoker_ttrpc.errors import Code, ConnectionLost, RpcError
from stoker_ttrpc.frames import MAGIC, Flags, Frame, FrameType

from tests.system.guest_vm import SHARE, Guest, GuestVm, running_guest_vm

# Any Python that an event holds runs in the container, so that one function serves nearly all tests.
RUN = """
    import os, sys, json, time, ctypes, socket, subprocess, threading

    def handler(event, context):
        scope = dict(globals(), context=context)
        exec(event, scope)
        return scope.get("result")
"""

SHARED = "c-shared"

RUN_NODE = """
    exports.handler = async (event, context) => eval(`(async () => { ${event} })()`);
"""


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestVm]:
    """A VM with its share mounted, and the functions that the tests use."""
    with running_guest_vm(tmp_path_factory.mktemp("vm")) as vm:
        vm.write_code("run", {"main.py": textwrap.dedent(RUN), "data/number": "42"})
        vm.write_code("run-node", {"main.js": textwrap.dedent(RUN_NODE)})
        asyncio.run(prepare(vm))
        yield vm


async def prepare(vm: GuestVm) -> None:
    async with vm.connected() as guest:
        await guest.configure()
        for _ in range(2):  # what is mounted already is no error
            await guest.call("MountShare", guest_pb2.MountShareResponse, tag=SHARE, name=SHARE, read_only=True)


@pytest.fixture
async def guest(vm: GuestVm) -> AsyncGenerator[Guest]:
    """The VM's agent. Containers that a test has left are destroyed."""
    async with vm.connected() as guest:
        yield guest
        for container in {*await guest.containers()} - {SHARED}:
            await guest.destroy(container)


@pytest.fixture
async def shared(guest: Guest) -> str:
    """A container that runs what its events say, for all tests that leave it whole."""
    return SHARED if SHARED in await guest.containers() else await loaded(guest, SHARED)


async def loaded(guest: Guest, container: str, runtime: str = "python3", memory_mib: int = 128) -> str:
    """Makes a container that runs what its events say."""
    await guest.create(container, runtime, memory_mib)
    assert await guest.load(container, "run" if runtime == "python3" else "run-node") is None
    return container


def failure_of(response: guest_pb2.InvokeResponse) -> tuple[int, str, bool]:
    """The kind and type of an invocation's failure, and whether the container is gone with it."""
    return response.failure.kind, response.failure.type, response.container_lost


async def test_the_agent_says_who_it_is(guest: Guest) -> None:
    hello = await guest.hello()
    assert [*hello.runtimes] == ["nodejs", "python3"]
    assert len(hello.image) == 16
    assert len(hello.boot_id) == 36
    assert 300 <= hello.container_memory_mib < 512


async def test_a_host_that_vanished_midway_in_a_frame_is_forgotten(vm: GuestVm) -> None:
    _, writer = await asyncio.open_unix_connection(vm.port)
    frame = Frame(1, FrameType.REQUEST, Flags.REMOTE_CLOSED, bytes(1_000_000)).to_bytes()
    writer.write(MAGIC + bytes(16) + frame[:300_000])
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(10), vm.connected() as guest:
        assert await guest.hello()


async def test_the_clock_is_the_hosts(guest: Guest, shared: str) -> None:
    before_s = time.time()
    there_s = await guest.result(shared, "result = time.time()")
    assert before_s - 0.1 <= there_s <= time.time() + 0.1


async def test_a_container_is_as_hard_as_promised(guest: Guest, shared: str) -> None:
    status = await guest.result(
        shared, "result = dict(line[:-1].split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)"
    )
    assert {status[kind] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split("\t") == ["1000"] * 4
    assert status["NSpid"].split("\t") == ["1"]

    mapping = await guest.result(shared, "result = open('/proc/self/uid_map').read().split()")
    assert mapping[0] == "0"
    assert int(mapping[1]) >= 100_000

    denied = await guest.result(
        shared,
        textwrap.dedent("""
            result = {}
            for path in ("/etc/x", "/usr/lib/stoker/x", "/var/task/x", "/x", "/proc/sys/kernel/hostname", "/dev/x",
                         "/home/x", "/var/tmp/x", "/run/x", "/root/x"):
                try:
                    open(path, "w").write("x")
                    result[path] = "written"
                except OSError as error:
                    result[path] = error.errno
        """),
    )
    assert "written" not in denied.values(), denied

    calls = await guest.result(
        shared,
        textwrap.dedent("""
            libc = ctypes.CDLL(None, use_errno=True)
            def call(number, *arguments):
                ctypes.set_errno(0)
                libc.syscall(number, *arguments)
                return ctypes.get_errno()
            result = {
                "mount": call(165, b"none", b"/tmp", b"tmpfs", 0, None), "unshare": call(272, 0x10000000),
                "ptrace": call(101, 0, 0, 0, 0), "bpf": call(321, 0, None, 0), "keyctl": call(250, 0, 0, 0, 0),
                "io_uring_setup": call(425, 1, None), "setns": call(308, 0, 0), "clone3": call(435, None, 0),
                "chroot": call(161, b"/tmp"), "perf_event_open": call(298, None, 0, 0, 0, 0),
                "AF_VSOCK": call(41, 40, 1, 0), "AF_PACKET": call(41, 17, 3, 0), "AF_ALG": call(41, 38, 5, 0),
                "init_module": call(175, None, 0, None), "userfaultfd": call(323, 0),
            }
        """),
    )
    assert calls.pop("clone3") == 38, "clone3 must fail as if the kernel had none, so that threads can be made"
    assert set(calls.values()) == {1}, calls

    assert await guest.result(shared, "result = sorted(name for _, name in socket.if_nameindex())") == ["lo"]
    assert await guest.result(shared, "result = os.listdir('/sys')") == []
    assert await guest.result(shared, "result = os.listdir('/usr/lib/stoker/agent')") == []
    assert await guest.result(shared, "result = socket.gethostname()") == shared


SIZES = """
import glob
def size(path):
    stat = os.statvfs(path)
    return stat.f_blocks * stat.f_frsize >> 20
result = [socket.gethostname(), context.log_stream.split("/")[2], size("/tmp"), size("/dev/shm"),
          len(open("/tmp/full", "wb").write(bytes(8 << 20)) and os.listdir("/tmp"))]
"""
TOO_MUCH = "x = []\nwhile True: x.append(bytearray(4 << 20))"
LITTER = """
    const live = [];
    for (let i = 0; i < 40; i++) live.push(new Array(131072).fill(i));
    for (let i = 0; i < 1500; i++) live[i % 40] = new Array(131072).fill(i);
    return live.length;
"""


@pytest.mark.parametrize(("memory_mib", "tmp_mib"), [(64, 9), (200, 90)])
async def test_a_blank_container_gets_what_its_function_has(guest: Guest, memory_mib: int, tmp_mib: int) -> None:
    blank, name = f"blank-{memory_mib}", f"c-named-{memory_mib}"
    await guest.create(blank, memory_mib=128, tmp_mib=64, in_background=True)
    assert (await guest.containers())[blank].runtime == "python3"
    loaded = await guest.load_with_spans(
        blank, "run", name=name, memory_mib=memory_mib, tmp_mib=tmp_mib, label=b"a label"
    )
    assert [span.name for span in loaded.spans] == ["bind", "limits", "import"]
    listed = await guest.containers()
    assert blank not in listed
    assert (listed[name].is_loaded, listed[name].label, listed[name].runtime) == (True, b"a label", "python3")
    assert await guest.result(name, SIZES) == [name, name, tmp_mib, min(64, tmp_mib), 1]
    response = await guest.invoke(name, TOO_MUCH)
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_OUT_OF_MEMORY, "OutOfMemory", True)
    assert f"{memory_mib} MiB" in response.failure.message
    # Both ids are free again.
    await guest.destroy(name)
    await guest.create(blank)
    assert await guest.load(blank, "run", name=name) is None


async def test_a_container_cannot_take_the_id_of_another(guest: Guest, shared: str) -> None:
    await guest.create("blank-other")
    with pytest.raises(RpcError, match="exists already"):
        await guest.load("blank-other", "run", name=shared)
    assert await guest.load("blank-other", "run", name="c-other") is None


async def test_javascript_litter_is_collected_before_the_memory_ends(guest: Guest) -> None:
    await guest.create("blank-litter", "nodejs", memory_mib=128)
    assert await guest.load("blank-litter", "run-node", name="c-litter", memory_mib=160) is None
    assert await guest.result("c-litter", LITTER, timeout_ms=60_000) == 40


async def test_containers_do_not_see_each_other(guest: Guest, shared: str) -> None:
    await loaded(guest, "c-two")
    await guest.result(shared, "open('/tmp/secret', 'w').close()")
    assert await guest.result("c-two", "result = os.listdir('/tmp')") == []
    seen = await guest.result("c-two", "result = [name for name in os.listdir('/proc') if name.isdigit()]")
    assert seen == ["1"]
    ids = [
        await guest.result(each, "result = open('/proc/self/uid_map').read().split()[1]") for each in (shared, "c-two")
    ]
    assert ids[0] != ids[1]
    assert await guest.result("c-two", "result = open('/proc/self/cgroup').read()") == "0::/\n"


async def test_a_container_is_blank_until_code_appears_read_only(vm: GuestVm, guest: Guest) -> None:
    await guest.create("c-blank")
    assert not (await guest.containers())["c-blank"].is_loaded
    with pytest.raises(RpcError, match="c-blank is blank") as caught:
        await guest.invoke("c-blank")
    assert caught.value.code == Code.FAILED_PRECONDITION

    assert await guest.load("c-blank", "run", environment={"GREETING": "hello"}, label=b"\0label") is None
    listed = (await guest.containers())["c-blank"]
    assert (listed.is_loaded, listed.label) == (True, b"\0label")
    with pytest.raises(RpcError, match="c-blank is idle; it must be blank"):
        await guest.load("c-blank", "run")

    found = await guest.result("c-blank", "result = [os.getcwd(), os.environ['GREETING'], open('data/number').read()]")
    assert found == ["/var/task", "hello", "42"]
    mounts = await guest.result("c-blank", "result = [line.split() for line in open('/proc/self/mounts')]")
    (code,) = [mount for mount in mounts if mount[1] == "/var/task" and mount[2] == "virtiofs"]
    assert {"ro", "nosuid", "nodev"} <= {*code[3].split(",")}


async def test_tmp_has_its_size_and_the_processes_their_number(guest: Guest, shared: str) -> None:
    written = await guest.result(
        shared,
        textwrap.dedent("""
            written = 0
            try:
                with open("/tmp/big", "wb", buffering=0) as file:
                    while True:
                        written += file.write(bytes(1 << 20))
            except OSError as error:
                result = [written >> 20, error.errno]
            os.remove("/tmp/big")
        """),
    )
    assert written == [16, 28]
    threads = await guest.result(
        shared,
        textwrap.dedent("""
            threading.stack_size(65536)
            end = threading.Event()
            threads = []
            try:
                while len(threads) < 2000:
                    threads.append(threading.Thread(target=end.wait))
                    threads[-1].start()
            except RuntimeError:
                threads.pop()
            end.set()
            for thread in threads:
                thread.join()
            result = len(threads)
        """),
    )
    assert 100 < threads < 512
    assert await guest.result(shared, "result = 'alive'") == "alive"


async def test_a_handler_that_overruns_is_killed_with_its_container(guest: Guest) -> None:
    container = await loaded(guest, "c-slow")
    hang = "print('before', flush=True)\nwhile True: pass"
    response = await guest.invoke(container, hang, timeout_ms=1500)
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_TIMEOUT, "Timeout", True)
    assert "1.5 s" in response.failure.message
    assert response.log_tail == b"before\n"
    assert 1.4e9 < response.run_ns < 5e9
    assert container not in await guest.containers()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("c-exit", "sys.exit(3)", "exited with code 3"),
        ("c-close", "os.close(3); time.sleep(60)", "was killed by SIGKILL"),
    ],
)
async def test_a_process_that_ends_is_told_with_its_code(guest: Guest, name: str, code: str, said: str) -> None:
    await loaded(guest, name)
    response = await guest.invoke(name, f"print('last words', flush=True); {code}")
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_EXIT, "Exit", True)
    assert said in response.failure.message
    assert response.log_tail == b"last words\n"


@pytest.mark.parametrize("runtime", ["python3", "nodejs"])
async def test_running_out_of_memory_is_told_apart(guest: Guest, runtime: str) -> None:
    container = await loaded(guest, f"c-memory-{runtime}", runtime)
    eat = (
        "x = []\nwhile True: x.append(bytearray(8 << 20))"
        if runtime == "python3"
        else "const x = []; for (;;) x.push(Buffer.alloc(8 << 20, 1));"
    )
    response = await guest.invoke(container, eat)
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_OUT_OF_MEMORY, "OutOfMemory", True)
    assert "128 MiB" in response.failure.message


async def test_a_response_that_is_too_large_leaves_the_container(guest: Guest, shared: str) -> None:
    response = await guest.invoke(shared, "result = 'x' * 2000", max_response_bytes=1000)
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_RESPONSE_TOO_LARGE, "ResponseTooLarge", False)
    assert await guest.result(shared, "result = 1") == 1


async def test_nonsense_from_the_container_ends_it_alone(guest: Guest, shared: str) -> None:
    await loaded(guest, "c-forger")
    response = await guest.invoke("c-forger", "os.write(3, b'\\xff' * 100); time.sleep(60)")
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_EXIT, "RuntimeMisused", True)
    assert await guest.result(shared, "result = 1") == 1


async def test_an_exception_has_type_message_and_the_handlers_own_frames(vm: GuestVm, guest: Guest) -> None:
    vm.write_code(
        "broken", {"main.py": "def inner():\n    raise ValueError('no')\n\ndef handler(e, c):\n    inner()\n"}
    )
    await guest.create("c-raise")
    assert await guest.load("c-raise", "broken") is None
    response = await guest.invoke("c-raise")
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_EXCEPTION, "ValueError", False)
    assert response.failure.message == "no"
    assert [*response.failure.stack_trace] == [
        'File "/var/task/main.py", line 5, in handler: inner()',
        """File "/var/task/main.py", line 2, in inner: raise ValueError('no')""",
    ]
    assert response.log_tail.endswith(b"ValueError: no\n")


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("1/0", "ZeroDivisionError", "division by zero"),
        ("import sys; sys.exit(5)", "Exit", "exited with code 5"),
        ("x = []\nwhile True: x.append(bytearray(8 << 20))", "OutOfMemory", "128 MiB"),
        ("while True: pass", "Timeout", "took longer than 2 s"),
    ],
)
async def test_code_that_cannot_be_loaded_is_told_and_its_container_destroyed(
    vm: GuestVm, guest: Guest, source: str, kind: str, said: str
) -> None:
    path = vm.write_code(f"load-{kind}", {"main.py": source})
    container = f"c-{kind}"
    await guest.create(container)
    failure = await guest.load(container, path, timeout_ms=2000 if kind == "Timeout" else 20_000)
    assert failure is not None
    assert (failure.kind, failure.type) == (public.FUNCTION_ERROR_KIND_LOAD, kind)
    assert said in failure.message
    assert container not in await guest.containers()


async def test_lines_reach_the_watcher_with_their_invocation_and_exits_are_told_at_once(guest: Guest) -> None:
    await loaded(guest, "c-talk")
    events = guest.watch()
    code = "print('one'); print('two', file=sys.stderr); threading.Timer(0.5, os._exit, [4]).start()"
    response = await guest.invoke("c-talk", code, invocation_id="i-talk")
    assert sorted(response.log_tail.splitlines()) == [b"one", b"two"]
    lines: dict[tuple[str, str], list[str]] = {}
    async with asyncio.timeout(20):
        async for event in events:
            if event.HasField("exited") and event.exited.container == "c-talk":
                assert event.exited.reason == "exited"
                break
            if event.lines.container == "c-talk":
                lines.setdefault((event.lines.invocation_id, event.lines.stream), []).extend(event.lines.lines)
    assert lines == {("i-talk", "stdout"): ["one"], ("i-talk", "stderr"): ["two"]}
    assert "c-talk" not in await guest.containers()


async def test_an_invocation_that_is_cancelled_kills_its_container(guest: Guest) -> None:
    await loaded(guest, "c-cancel")
    invoking = await started(guest, "c-cancel")
    invoking.cancel()
    async with asyncio.timeout(20):
        while "c-cancel" in await guest.containers():
            pass


async def test_a_lost_connection_kills_the_containers_of_its_invocations_and_no_others(vm: GuestVm) -> None:
    async with vm.connected() as guest:
        kept = {*await guest.containers()}
        await loaded(guest, "c-lost")
        invoking = await started(guest, "c-lost")
    # The connection has been cut; so the invocation that is under way fails here too.
    with pytest.raises(ConnectionLost):
        await invoking
    async with vm.connected() as guest:
        assert {*await guest.containers()} == kept


async def started(guest: Guest, container: str) -> "asyncio.Task[guest_pb2.InvokeResponse]":
    """Starts an invocation that lasts a minute, and returns when the handler runs."""
    code = "print('running', flush=True); time.sleep(60)"
    invoking = asyncio.create_task(guest.invoke(container, code, timeout_ms=60_000))
    async with asyncio.timeout(20):
        async for event in guest.watch():
            if event.lines.container == container:
                break
    return invoking


async def test_six_mebibytes_go_in_and_out_while_others_are_served(guest: Guest, shared: str) -> None:
    code = b'"result = bytes(6 << 20)"'
    async with asyncio.TaskGroup() as group:
        echo = group.create_task(
            guest.call(
                "Invoke",
                guest_pb2.InvokeResponse,
                container=shared,
                invocation_id="i",
                payload=code + b" " * (6 * 2**20 - len(code)),
                content_type="application/json",
                timeout_ms=30_000,
                max_response_bytes=6 * 2**20,
                timeout_s=40,
            )
        )
        for _ in range(10):
            await guest.hello()
    response = echo.result()
    assert not response.HasField("failure"), response.failure
    assert len(response.payload) == 6 * 2**20
    assert response.content_type == "application/octet-stream"


async def test_nodejs_is_served_alike(guest: Guest) -> None:
    await loaded(guest, "c-node", "nodejs")
    response = await guest.invoke(
        "c-node",
        "console.log('hi'); return [process.getuid(), process.cwd(), context.functionName, typeof context.deadline];",
    )
    assert json.loads(response.payload) == [1000, "/var/task", "test", "object"]
    assert response.log_tail == b"hi\n"
    response = await guest.invoke("c-node", "throw new TypeError('no');")
    assert failure_of(response) == (public.FUNCTION_ERROR_KIND_EXCEPTION, "TypeError", False)
    response = await guest.invoke("c-node", "process.exit(9);")
    assert "exited with code 9" in response.failure.message


async def test_spans_and_trace_context_reach_from_the_host_to_the_handler(guest: Guest) -> None:
    await loaded(guest, "c-trace")
    trace = "0af7651916cd43dd8448eb211c80319c"
    response = await guest.invoke(
        "c-trace", "result = context.traceparent", traceparent=f"00-{trace}-b7ad6b7169203331-01"
    )
    (handler,) = response.spans
    assert handler.name == "handler"
    assert json.loads(response.payload) == f"00-{trace}-{handler.span_id}-01"
    assert handler.start_unix_ns < handler.end_unix_ns
    assert handler.end_unix_ns - handler.start_unix_ns == response.run_ns


async def test_what_the_host_asks_wrongly_is_refused_by_field(guest: Guest) -> None:
    refusals = [
        (partial(guest.create, "../c"), "container"),
        (partial(guest.create, "c-1", "cobol"), "runtime"),
        (partial(guest.create, "c-1", memory_mib=1), "memory_mib"),
        (partial(guest.load, "c-1", "../../etc"), "path"),
        (partial(guest.load, "c-1", "missing"), "path"),
        (partial(guest.load, "c-1", "run"), "container"),
        (partial(guest.load, "c-1", "run", environment={"A=B": "c"}), "environment"),
        (partial(guest.invoke, "c-1", invocation_id="a/b"), "invocation_id"),
        (partial(guest.invoke, "c-1", traceparent="x"), "traceparent"),
        (partial(guest.call, "MountShare", guest_pb2.MountShareResponse, tag="none", name="none"), "tag"),
        (partial(guest.call, "MountShare", guest_pb2.MountShareResponse, tag="x", name="../x"), "name"),
        (partial(guest.call, "Configure", guest_pb2.ConfigureResponse, hostname="a b"), "hostname"),
    ]
    for ask, field in refusals:
        with pytest.raises(RpcError, match=field):
            await ask()
    await guest.destroy("c-that-never-was")


async def test_nothing_is_left_of_containers_that_are_gone(vm: GuestVm, guest: Guest, shared: str) -> None:
    for _ in range(2):
        await guest.create("c-again")
        await guest.destroy("c-again")
    assert {*await guest.containers()} == {shared}
    assert "left something" not in vm.console_text()
