"""A raw round trip into a guest: bytes through a virtio-serial port and back, and nothing else.

The guest runs the kernel, initramfs and root disk of Stoker's own image, by the same accelerator and with the same
processor and devices for its port. Instead of Stoker's init its first and only program is Python with a blocking loop
of `os.read` and `os.write`. So this floor contains: the socket of QEMU's character device, the virtio-serial device,
the interrupt, the guest's kernel, one wake-up of one process, two system calls and some ten instructions of Python; and
on the host a blocking socket. It contains no ttrpc, no protobuf, no asyncio, no container and no second process.
"""

import json
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stoker_guest_image.cpio import CpioWriter

BOOT_S = 60.0
READY = b"ready"
PORT = "dev.stoker.guest.0"

ECHO = f"""
import glob, os
os.system("/usr/lib/stoker/busybox mount -t sysfs sys /sys")
(port,) = [path for path in glob.glob("/sys/class/virtio-ports/*/name") if open(path).read().strip() == "{PORT}"]
file = os.open("/dev/" + port.split("/")[-2], os.O_RDWR)
os.write(file, {READY!r})
while True:
    data = os.read(file, 65536)
    while data:
        data = data[os.write(file, data):]
"""


@contextmanager
def raw_guest(image: Path, accelerator: str) -> Generator[socket.socket]:
    """Boots a guest that echoes; yields the host's end of its port.

    Args:
        image: The directory of a guest image.
        accelerator: `kvm` or `qemu`, as Stoker runs its own.
    """
    with tempfile.TemporaryDirectory() as directory:
        port, initrd = Path(directory, "port"), Path(directory, "initrd")
        initrd.write_bytes(_with_echo((image / "initrd.img").read_bytes()))
        command = _qemu(image, initrd, port, accelerator)
        with (
            subprocess.Popen(command, stdin=subprocess.DEVNULL) as vm,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            try:
                _connect(connection, port)
                connection.settimeout(BOOT_S)
                assert connection.recv(len(READY)) == READY
                yield connection
            finally:
                vm.kill()


def round_trips(connection: socket.socket, callers: int, count: int, size: int) -> list[float]:
    """Sends frames of `size` bytes, as many at once as there are callers; returns how many milliseconds each took."""
    frame = bytes(size)
    begun_s: deque[float] = deque()
    took_ms: list[float] = []
    received = 0
    while len(took_ms) < count:
        while len(begun_s) < callers:
            begun_s.append(time.perf_counter())
            connection.sendall(frame)
        received += len(connection.recv(65536))
        while received >= size:
            received -= size
            took_ms.append((time.perf_counter() - begun_s.popleft()) * 1000)
    while received < size * len(begun_s):
        received += len(connection.recv(65536))
    return took_ms


def _connect(connection: socket.socket, port: Path) -> None:
    deadline_s = time.monotonic() + 10
    while True:
        try:
            connection.connect(str(port))
            return
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)  # QEMU tells nobody that it listens


def _with_echo(initrd: bytes) -> bytes:
    """The initramfs, followed by an archive whose files replace its own: another first program."""
    init = Path(__file__).parents[2].joinpath("guest", "image", "initramfs-init").read_text()
    handing_over = "exec switch_root /root /usr/lib/stoker/init"
    assert handing_over in init
    archive = CpioWriter()
    echo = "/usr/bin/python3 -I -S /dev/echo.py"
    placed = f"cp /echo.py /root/dev/echo.py\nexec switch_root /root {echo}"
    archive.add_file("init", init.replace(handing_over, placed).encode(), is_program=True)
    archive.add_file("echo.py", ECHO.encode())
    archive.add_link("bin/cp", "busybox")
    return initrd + bytes(-len(initrd) % 512) + archive.finish()


def _qemu(image: Path, initrd: Path, port: Path, accelerator: str) -> list[str]:
    description = json.loads((image / "image.json").read_text())
    accelerated = ("kvm", "host") if accelerator == "kvm" else ("tcg", "max")
    return [
        *("qemu-system-x86_64", "-accel", accelerated[0], "-cpu", accelerated[1], "-machine", "pc", "-m", "512"),
        *("-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", f"{image / 'vmlinuz'}", "-initrd", f"{initrd}", "-append", description["kernel_cmdline"]),
        *("-drive", f"file={image / 'root.erofs'},if=none,id=root,format=raw,readonly=on"),
        *("-device", "virtio-blk-pci,drive=root", "-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=port,path={port},server=on,wait=off"),
        *("-device", f"virtserialport,chardev=port,name={PORT}"),
    ]
