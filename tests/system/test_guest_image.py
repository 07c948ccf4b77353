"""The guest image boots: with a stand-in for the guest agent, which tells on the console what it finds."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stoker_guest_image import base
from stoker_guest_image.build import build
from stoker_guest_image.images import FILES, ImagesDirectory
from stoker_guest_image.progress import Progress
from stoker_guest_image.recipe import read_recipe
from stoker_guest_image.sources import Sources, find_sources

from tests.system.images import guest_image

BOOT_S = 90
PORT = "dev.stoker.guest.0"

STAND_IN = """
import json, os, subprocess, sys
from pathlib import Path

sys.path.extend(["/usr/lib/stoker", "/usr/lib/python3/dist-packages"])
import google.protobuf.descriptor_pb2
import stoker_ttrpc


IN_CONTAINER = "import os, ssl, sqlite3, zoneinfo; print(os.getuid(), zoneinfo.ZoneInfo('Europe/Berlin'))"


def read(path):
    return Path(path).read_text().strip()


def run_container(command):
    # As the guest agent does: the root disk once more, as a user that is nobody outside.
    bundle = Path("/run/bundle")
    root = bundle / "root"
    root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,nosuid,nodev", "/dev/vda", root], check=True)
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 1000, "gid": 1000}, "args": command, "cwd": "/", "env": ["PATH=/usr/bin"],
                    "noNewPrivileges": True},
        "root": {"path": "root", "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=16m"]},
            {"destination": "/var/task", "type": "none", "source": "/run/bundle/code", "options": ["rbind", "ro"]},
        ],
        "linux": {
            "cgroupsPath": "/c-1",
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network", "user", "cgroup")],
            "uidMappings": ids, "gidMappings": ids,
            "resources": {"memory": {"limit": 67108864}, "pids": {"limit": 32}},
        },
    }
    (bundle / "code").mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    crun = ["crun", "--root", "/run/crun", "run", "--bundle", bundle, "c-1"]
    done = subprocess.run(crun, capture_output=True, text=True)
    return {"status": done.returncode, "said": (done.stdout + done.stderr).strip()}


memory = dict(line.split(":") for line in read("/proc/meminfo").splitlines())
facts = {
    "pid": os.getpid(),
    "image": read("/usr/lib/stoker/image-id"),
    "uptime_s": float(read("/proc/uptime").split()[0]),
    "memory_mib": int(memory["MemAvailable"].split()[0]) // 1024,
    "controllers": read("/sys/fs/cgroup/cgroup.subtree_control").split(),
    "mounts": [line.split()[:3] for line in read("/proc/self/mounts").splitlines()],
    "ports": [read(path) for path in Path("/sys/class/virtio-ports").glob("*/name")],
    "modules_disabled": read("/proc/sys/kernel/modules_disabled"),
    "filesystems": read("/proc/filesystems").split(),
    "compiled": google.protobuf.descriptor_pb2.__spec__.cached,
    "privileged": subprocess.run(["find", "/usr", "-xdev", "-perm", "/6000"], capture_output=True).stdout.decode(),
    "node": subprocess.run(["node", "-p", "process.version"], capture_output=True, text=True).stdout.strip(),
    "loopback": Path("/sys/class/net/lo/flags").read_text().strip(),
    "container": run_container(["python3", "-c", IN_CONTAINER]),
}
Path("/written").write_text("the root can be written to")
print("FACTS " + json.dumps(facts), flush=True)
"""


def sources_with_agent(directory: Path, agent: str) -> Sources:
    """A copy of this checkout's sources, which nobody edits meanwhile, but for the guest agent."""
    (directory / "agent").mkdir(parents=True)
    (directory / "agent" / "main.py").write_text(agent)
    found = find_sources()
    return Sources(
        image=shutil.copytree(found.image, directory / "image"),
        agent=directory / "agent",
        runtimes=shutil.copytree(found.runtimes, directory / "runtimes"),
        ttrpc=shutil.copytree(found.ttrpc, directory / found.ttrpc.name),
        messages=Path(shutil.copy(found.messages, directory)),
        builder=shutil.copytree(found.builder, directory / "builder"),
    )


def boot(image: Path) -> list[str]:
    """Boots an image as the host agent does, until the VM ends; returns the lines of its console."""
    description = json.loads((image / "image.json").read_text())
    command: Sequence[str | Path] = [
        *("qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-cpu", "max", "-smp", "1", "-m", "512"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", image / "vmlinuz", "-initrd", image / "initrd.img"),
        *("-append", description["kernel_cmdline"]),
        *("-drive", f"file={image / 'root.erofs'},if=none,id=root,format=raw,readonly=on"),
        *("-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        *("-chardev", "null,id=port", "-device", f"virtserialport,chardev=port,name={PORT}"),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_S, check=True)
    return done.stdout.decode(errors="replace").splitlines()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """The sources of an image whose agent tells what it finds, and ends."""
    return sources_with_agent(tmp_path_factory.mktemp("guest") / "sources", STAND_IN)


@pytest.fixture(scope="module")
def images_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the tests' own, with the base that is there already, which takes half a minute to make."""
    directory = tmp_path_factory.mktemp("images")
    take_base(directory)
    return directory


def take_base(directory: Path) -> None:
    """Gives a directory of images the base that the image of this checkout has."""
    base_id = base.id_of(read_recipe(find_sources().recipe).base)
    ImagesDirectory(directory).base(base_id).symlink_to(ImagesDirectory(guest_image().parent).base(base_id))


@pytest.fixture(scope="module")
def image(images_dir: Path, stand_in: Sources) -> Path:
    """The image, built."""
    return build(images_dir, stand_in, Progress())


@pytest.fixture(scope="module")
def console(image: Path) -> list[str]:
    """What the image says on its console, from boot to end."""
    return boot(image)


@pytest.fixture(scope="module")
def facts(console: list[str]) -> dict[str, Any]:
    """What the stand-in for the guest agent has found."""
    found = [line.partition("FACTS ")[2] for line in console if "FACTS " in line]
    assert found, "\n".join(console)
    return json.loads(found[0])


def test_the_guest_agent_is_process_1_and_knows_its_image(facts: dict[str, Any], image: Path) -> None:
    assert facts["pid"] == 1
    assert facts["image"] == image.name


def test_the_guest_has_what_the_guest_agent_needs(facts: dict[str, Any]) -> None:
    mounts = {where: kind for _, where, kind in facts["mounts"]}
    assert [mounts[f"/{name}"] for name in ("proc", "sys", "dev/pts", "run", "tmp")] == [
        "proc",
        "sysfs",
        "devpts",
        "tmpfs",
        "tmpfs",
    ]
    assert mounts["/"] == "overlay"
    assert mounts["/sys/fs/cgroup"] == "cgroup2"
    assert {"cpu", "memory", "pids"} <= {*facts["controllers"]}
    assert facts["ports"] == [PORT]
    assert {"erofs", "overlay", "virtiofs"} <= {*facts["filesystems"]}
    assert int(facts["loopback"], 16) & 1, "the loopback interface is down"
    assert facts["memory_mib"] >= 400


def test_nothing_is_compiled_in_the_guest(facts: dict[str, Any]) -> None:
    assert facts["compiled"].endswith(".pyc")


def test_the_guest_offers_no_way_up(facts: dict[str, Any]) -> None:
    assert facts["modules_disabled"] == "1"
    assert facts["privileged"] == ""


def test_crun_runs_a_container_in_a_user_namespace_on_the_root_disk(facts: dict[str, Any]) -> None:
    assert facts["container"] == {"status": 0, "said": "1000 Europe/Berlin"}


def test_nodejs_runs(facts: dict[str, Any]) -> None:
    assert facts["node"].startswith("v18.")


def test_a_guest_without_its_agent_ends(console: list[str]) -> None:
    assert any("Kernel panic" in line for line in console)


def test_the_same_sources_give_the_same_image_byte_for_byte(image: Path, stand_in: Sources, tmp_path: Path) -> None:
    take_base(tmp_path)

    again = build(tmp_path, stand_in, Progress())

    for name in (*FILES, "image.json"):
        assert (again / name).read_bytes() == (image / name).read_bytes(), name


def test_builds_at_the_same_time_build_once(
    images_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sources = sources_with_agent(tmp_path / "sources", f'"""Another agent, of {tmp_path}."""')
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build, images_dir, sources, Progress()) for _ in range(2)]

    assert len({done.result() for done in builds}) == 1
    assert capfd.readouterr().err.count("writing the root disk") == 1


def test_a_built_image_is_found_at_once(
    images_dir: Path, image: Path, stand_in: Sources, capfd: pytest.CaptureFixture[str]
) -> None:
    assert build(images_dir, stand_in, Progress()) == image
    assert capfd.readouterr().err == ""
