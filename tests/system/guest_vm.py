"""One VM under plain QEMU, without libvirt and any of Stoker's services: the guest image and its agent alone."""

import asyncio
import json
import secrets
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker_protos.guest.v1 import guest_pb2
from stoker_protos.guest.v1.transport_pb2 import TransportRequest, TransportResponse
from stoker_ttrpc.client import Client
from stoker_ttrpc.messages import MessageType

from tests.system.images import guest_image

SERVICE = "stoker.guest.v1.GuestService"
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
BOOT_S = 90
MEMORY_MIB = 512
SHARE = "code"


@dataclass(frozen=True, slots=True)
class GuestVm:
    """A running VM."""

    port: Path
    """The socket where its virtio-serial port ends."""
    code: Path
    """The directory that it sees as the share `code`."""
    console: Path

    @property
    def container_ports(self) -> list[Path]:
        """The sockets where the ports end that its containers may have for themselves."""
        return [self.port.with_suffix(f".p{number}") for number in (1, 2)]

    def write_code(self, name: str, files: Mapping[str, str]) -> str:
        """Writes a function's files into the share, and returns the path they have there."""
        directory = self.code / name
        directory.mkdir()
        for file, text in files.items():
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return name

    def console_text(self) -> str:
        """What the kernel and the agent have printed."""
        return self.console.read_text(errors="replace")

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator["Guest"]:
        """Connects to its agent."""
        reader, writer = await asyncio.open_unix_connection(self.port)
        try:
            client = Client(reader, writer, TransportRequest, TransportResponse)
            await client.synchronize(BOOT_S)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(client.run())
                yield Guest(client)
                running.cancel()
        finally:
            writer.transport.abort()


class Guest:
    """The agent of a VM, one method a call."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(
        self, method: str, response_class: type[MessageType], timeout_s: float = 30, **fields: Any
    ) -> MessageType:
        """Calls a method with a request of these fields."""
        request = getattr(guest_pb2, f"{method}Request")(**fields)
        return await self._client.call(SERVICE, method, request, response_class, timeout_s)

    async def hello(self) -> guest_pb2.HelloResponse:
        """Asks who is there."""
        return await self.call("Hello", guest_pb2.HelloResponse)

    async def configure(self) -> None:
        """Gives the VM its identity."""
        entropy = secrets.token_bytes(64)
        await self.call(
            "Configure", guest_pb2.ConfigureResponse, hostname="vm-test", unix_time_ns=time.time_ns(), entropy=entropy
        )

    async def create(
        self, container: str, runtime: str = "python3", memory_mib: int = 128, tmp_mib: int = 16, **fields: Any
    ) -> None:
        """Makes a blank container."""
        await self.call(
            "CreateContainer",
            guest_pb2.CreateContainerResponse,
            container=container,
            runtime=runtime,
            memory_mib=memory_mib,
            tmp_mib=tmp_mib,
            **fields,
        )

    async def load(
        self, container: str, path: str, handler: str = "main.handler", timeout_ms: int = 20_000, **fields: Any
    ) -> guest_pb2.FunctionFailure | None:
        """Loads code; returns why it can't be, where it can't."""
        response = await self.load_with_spans(container, path, handler, timeout_ms, **fields)
        return response.failure if response.HasField("failure") else None

    async def load_with_spans(
        self, container: str, path: str, handler: str = "main.handler", timeout_ms: int = 20_000, **fields: Any
    ) -> guest_pb2.LoadCodeResponse:
        """Loads code; returns all that is answered."""
        identity = guest_pb2.FunctionIdentity(tenant="dev", function="test", version=3, memory_mib=128)
        return await self.call(
            "LoadCode",
            guest_pb2.LoadCodeResponse,
            container=container,
            share=SHARE,
            path=path,
            handler=handler,
            timeout_ms=timeout_ms,
            identity=identity,
            **fields,
        )

    async def invoke(
        self, container: str, event: Any = None, timeout_ms: int = 20_000, **fields: Any
    ) -> guest_pb2.InvokeResponse:
        """Runs an invocation with an event in JSON."""
        told = {"content_type": "application/json", "max_response_bytes": 6 * 2**20, "invocation_id": "i-1", **fields}
        return await self.call(
            "Invoke",
            guest_pb2.InvokeResponse,
            container=container,
            payload=json.dumps(event).encode(),
            timeout_ms=timeout_ms,
            timeout_s=timeout_ms / 1000 + 10,
            **told,
        )

    async def result(self, container: str, event: Any = None, **fields: Any) -> Any:
        """Runs an invocation that must not fail, and returns its result from JSON."""
        response = await self.invoke(container, event, **fields)
        assert not response.HasField("failure"), response.failure
        return json.loads(response.payload)

    async def containers(self) -> dict[str, guest_pb2.ListContainersResponse.Container]:
        """The containers that there are, by id."""
        response = await self.call("ListContainers", guest_pb2.ListContainersResponse)
        return {each.container: each for each in response.containers}

    async def destroy(self, container: str) -> None:
        """Destroys a container."""
        await self.call("DestroyContainer", guest_pb2.DestroyContainerResponse, container=container)

    def watch(self) -> AsyncIterator[guest_pb2.WatchResponse]:
        """What happens by itself."""
        return self._client.stream(SERVICE, "Watch", guest_pb2.WatchRequest(), guest_pb2.WatchResponse)


@contextmanager
def running_guest_vm(directory: Path) -> Generator[GuestVm]:
    """Builds the image where it is missing, and boots a VM of it.

    Args:
        directory: Gets the VM's sockets, its console's text, and the code it sees.
    """
    image = guest_image()
    vm = GuestVm(directory / "port", directory / "code", directory / "console")
    vm.code.mkdir(mode=0o755)
    share = directory / "share"
    with (
        _process([VIRTIOFSD, f"--socket-path={share}", "-o", f"source={vm.code}", "-o", "sandbox=chroot"]),
        _process(_qemu(image, vm, _appeared(share))),
    ):
        _appeared(vm.port)
        yield vm


def _qemu(image: Path, vm: GuestVm, share: Path) -> list[str]:
    description = json.loads((image / "image.json").read_text())
    return [
        *("qemu-system-x86_64", "-accel", "tcg", "-machine", "pc,memory-backend=memory", "-cpu", "max"),
        *("-smp", "1", "-m", str(MEMORY_MIB), "-object", f"memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{vm.console}"),
        *("-kernel", f"{image / 'vmlinuz'}", "-initrd", f"{image / 'initrd.img'}"),
        *("-append", description["kernel_cmdline"]),
        *("-drive", f"file={image / 'root.erofs'},if=none,id=root,format=raw,readonly=on"),
        *("-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=port,path={vm.port},server=on,wait=off"),
        *("-device", "virtserialport,chardev=port,name=dev.stoker.guest.0"),
        *_container_ports(vm),
        *("-chardev", f"socket,id=share,path={share}"),
        *("-device", f"vhost-user-fs-pci,chardev=share,tag={SHARE}"),
    ]


def _container_ports(vm: GuestVm) -> Generator[str]:
    for number, path in enumerate(vm.container_ports, 1):
        yield from ("-chardev", f"socket,id=port{number},path={path},server=on,wait=off")
        yield from ("-device", f"virtserialport,chardev=port{number},name=dev.stoker.container.{number}")


@contextmanager
def _process(command: list[str]) -> Generator[None]:
    """Runs a program until the context is left."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _appeared(path: Path) -> Path:
    """A socket, as soon as its program has made it."""
    deadline_s = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} does not come"
        time.sleep(0.01)
    return path
