"""Containers with ports of their own, in a real VM, from the host: what was promised of invocations holds there too."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from stoker_hostagent.guest import Guest
from stoker_hostagent.guest_channel import GuestChannel
from stoker_hostagent.guest_messages import Code, FunctionIdentity, Invocation, InvokeResult
from stoker_hostagent.guest_ports import GuestPorts
from stoker_protos.guest.v1 import guest_pb2

from tests.system.guest_vm import SHARE, GuestVm, running_guest_vm

LIMIT_BYTES = 100_000
CODE = """
import os, subprocess, sys, threading, time

def handler(event, context):
    match event["do"]:
        case "return":
            return event["what"]
        case "print":
            print("out")
            print("err", file=sys.stderr)
            subprocess.run(["echo", "from a program"])
            return "printed"
        case "print much":
            for number in range(5000):
                print(number, "x" * 80)
        case "print later":
            threading.Timer(0.3, print, args=("late",)).start()
        case "sleep":
            print("sleeping")
            time.sleep(event["s"])
            return "slept"
        case "fail":
            raise ValueError("no")
        case "exit":
            print("ending")
            os._exit(7)
        case "eat":
            return len(bytearray(event["mib"] * 2**20))
        case "large":
            return "x" * event["bytes"]
        case "hostile":
            for file in range(3, 30):
                try:
                    if os.readlink(f"/proc/self/fd/{file}").startswith("/dev/vport"):
                        os.write(file, b"\\0\\0\\0\\2\\0\\0\\0\\0{}")
                except OSError:
                    pass
            time.sleep(10)
"""


@dataclass
class Host:
    """The host's end of one VM."""

    guest: Guest
    code: str
    heard: list[guest_pb2.WatchResponse] = field(default_factory=list[guest_pb2.WatchResponse])
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def load(self, container: str) -> None:
        """Makes a container with the function."""
        await self.guest.create_container(f"blank-{container}", "python3", 64, 4)
        identity = FunctionIdentity("dev", "test", 1, 64)
        code = Code(SHARE, self.code, "main.handler", {}, 30_000, identity, b"label", container, memory_mib=64)
        assert (await self.guest.load_code(f"blank-{container}", code)).failure is None

    async def invoke(self, container: str, event: Any, timeout_ms: int = 30_000) -> InvokeResult:
        """Runs an invocation."""
        payload = json.dumps(event).encode()
        number = next(self.numbers)
        return await self.guest.invoke(
            Invocation(container, f"i-{number}", payload, "application/json", timeout_ms, "", LIMIT_BYTES)
        )

    async def result(self, container: str, event: Any) -> Any:
        """Runs an invocation that must not fail."""
        answer = await self.invoke(container, event)
        assert answer.failure is None
        return json.loads(answer.payload)

    def lines(self) -> list[tuple[str, str]]:
        """What was printed, with whose it is."""
        return [(event.lines.invocation_id, line) for event in self.heard for line in event.lines.lines]


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestVm]:
    """A VM."""
    with running_guest_vm(tmp_path_factory.mktemp("vm")) as running:
        running.write_code("port", {"main.py": CODE})
        yield running


@asynccontextmanager
async def connected(vm: GuestVm) -> AsyncGenerator[Host]:
    """A host agent's connection to it."""
    heard: list[guest_pb2.WatchResponse] = []
    channel = GuestChannel("vm-0123456789ab", vm.port, 60, heard.append)
    running = asyncio.create_task(channel.run())
    guest = Guest(channel, GuestPorts(vm.container_ports))
    try:
        async with asyncio.timeout(300):
            await guest.wait_answer()
            await guest.mount_share(SHARE)
            yield Host(guest, "port", heard)
    finally:
        guest.close()
        channel.close()
        running.cancel()
        await asyncio.wait([running])


async def test_a_container_answers_by_its_port_and_its_output_is_its_invocations(vm: GuestVm) -> None:
    async with connected(vm) as host:
        await host.load("c-1")
        for number in range(20):
            assert await host.result("c-1", {"do": "return", "what": number}) == number
        printed = await host.invoke("c-1", {"do": "print"})
        assert json.loads(printed.payload) == "printed"
        assert sorted(printed.log_tail.splitlines()) == [b"err", b"from a program", b"out"]
        assert await host.result("c-1", {"do": "return", "what": "y" * 50_000}) == "y" * 50_000
        assert (await host.invoke("c-1", {"do": "print much"})).log_tail.endswith(b"x\n")
        failed = await host.invoke("c-1", {"do": "fail"})
        assert failed.failure is not None
        assert (failed.failure.type, failed.failure.message, failed.is_container_lost) == ("ValueError", "no", False)
        assert b"ValueError: no" in failed.log_tail
        too_large = await host.invoke("c-1", {"do": "large", "bytes": LIMIT_BYTES + 1})
        assert too_large.failure is not None
        assert too_large.failure.type == "ResponseTooLarge"
        await host.invoke("c-1", {"do": "print later"})
        slept = await host.invoke("c-1", {"do": "sleep", "s": 1})
        assert json.loads(slept.payload) == "slept"
        assert slept.run_ns >= 0.9e9
        assert await host.result("c-1", {"do": "return", "what": 1}) == 1
        await host.guest.destroy_container("c-1")
        owners = {line: owner for owner, line in host.lines()}
        assert owners["out"] == owners["err"] == owners["from a program"] == "i-20"
        assert owners["sleeping"] == "i-26"


@pytest.mark.parametrize(
    ("event", "timeout_ms", "kind"),
    [
        ({"do": "sleep", "s": 30}, 500, "Timeout"),
        ({"do": "sleep", "s": 30}, 50, "Timeout"),
        ({"do": "exit"}, 30_000, "Exit"),
        ({"do": "eat", "mib": 100}, 30_000, "OutOfMemory"),
        ({"do": "hostile"}, 30_000, "RuntimeMisused"),
    ],
)
async def test_a_container_that_is_lost_is_told_so_and_its_port_is_free_again(
    vm: GuestVm, event: Any, timeout_ms: int, kind: str
) -> None:
    async with connected(vm) as host:
        for container in ("c-2", "c-3"):
            await host.load(container)
            assert await host.result(container, {"do": "return", "what": container}) == container
        answer = await host.invoke("c-2", event, timeout_ms)
        assert answer.failure is not None
        assert (answer.failure.type, answer.is_container_lost) == (kind, True)
        await host.guest.destroy_container("c-2")
        # It gets the port that c-2 had: there are two.
        await host.load("c-4")
        assert await host.result("c-4", {"do": "return", "what": "again"}) == "again"
        for container in ("c-3", "c-4"):
            await host.guest.destroy_container(container)


async def test_more_containers_than_ports_all_answer(vm: GuestVm) -> None:
    async with connected(vm) as host:
        containers = ("c-5", "c-6", "c-7")
        for container in containers:
            await host.load(container)
        answers = [host.result(container, {"do": "return", "what": container}) for container in containers]
        assert tuple(await asyncio.gather(*answers)) == containers
        for container in containers:
            await host.guest.destroy_container(container)


async def test_a_restarted_host_agent_finds_the_ports_again_but_no_container_that_runs_for_nobody(vm: GuestVm) -> None:
    async with connected(vm) as host:
        for container in ("c-8", "c-9"):
            await host.load(container)
        running = asyncio.create_task(host.invoke("c-8", {"do": "sleep", "s": 3}))
        await asyncio.sleep(0.5)
        running.cancel()
    async with connected(vm) as host:
        listed = {each.id: each.is_loaded for each in await host.guest.list_containers()}
        assert listed == {"c-8": False, "c-9": True}
        assert await host.result("c-9", {"do": "return", "what": 9}) == 9
        for container in listed:
            await host.guest.destroy_container(container)
