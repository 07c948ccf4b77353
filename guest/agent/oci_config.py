"""What crun is told of a container: its `config.json`, as a function of a few values."""

from dataclasses import dataclass
from typing import Any

from agent import identity, seccomp
from agent.mounts import Windows

IDS_PER_CONTAINER = 65536
FIRST_ID = 100_000
USER = 1000
"""The user of the function, as it sees itself."""

MAX_PROCESSES = 512
MAX_OPEN_FILES = 4096
SHARED_MEMORY_MIB = 64
OOM_SCORE = 500
"""When the VM's memory ends, containers go before the agent."""

BACKGROUND_CPU_WEIGHT = 10
"""A runtime that starts and nobody waits for leaves the processor to functions that run: they weigh 50 and more."""

MEBIBYTE = 1024 * 1024
CODE = "/var/task"
LAYERS = "/opt"
HOME = "/tmp"  # noqa: S108 - in the container, which has it for itself
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - as above

HIDDEN = (
    "/proc/acpi",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/usr/lib/stoker/agent",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

ENVIRONMENT = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "LOGNAME": "function",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TMPDIR": HOME,
    "TZ": "UTC",
    "USER": "function",
}


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container shall be."""

    id: str
    runtime: str
    command: tuple[str, ...]
    memory_mib: int
    tmp_mib: int
    slot: int
    """Which range of user ids it has, counted from 0. No two containers of a VM share one."""
    is_in_background: bool = False
    """Whether it leaves the processor to others until it gets its code."""

    @property
    def first_id(self) -> int:
        """The VM's user id that is 0 in the container."""
        return FIRST_ID + self.slot * IDS_PER_CONTAINER

    @property
    def user_id(self) -> int:
        """The VM's user id of the function."""
        return self.first_id + USER


def config(spec: ContainerSpec, root: str, windows: Windows, cgroup: str, machine: str) -> dict[str, Any]:
    """The configuration of a container, after the OCI runtime specification.

    Args:
        spec: The container.
        root: The directory that is its root.
        windows: The directories over which its code and its layers will be mounted.
        cgroup: Its control group, below the mount point.
        machine: As `uname -m` names it.
    """
    ids = [{"containerID": 0, "hostID": spec.first_id, "size": IDS_PER_CONTAINER}]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": True},
        "hostname": spec.id,
        "mounts": _mounts(spec, windows),
        "process": {
            "terminal": False,
            "user": {"uid": USER, "gid": USER},
            "args": list(spec.command),
            "env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "cwd": CODE,
            "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            "noNewPrivileges": True,
            "oomScoreAdj": OOM_SCORE,
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": MAX_OPEN_FILES, "hard": MAX_OPEN_FILES},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ],
        },
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")],
            "uidMappings": ids,
            "gidMappings": ids,
            "cgroupsPath": cgroup,
            "resources": {"unified": _limits(spec)},
            "seccomp": seccomp.profile(machine),
            "maskedPaths": list(HIDDEN),
            "readonlyPaths": list(READ_ONLY),
            # Mounts that the agent makes later must come in, and none may go out.
            "rootfsPropagation": "rslave",
        },
    }


def memory_limits(memory_mib: int) -> dict[str, str]:
    """The limits that follow from a container's memory, by the names of their files."""
    return {
        "memory.max": str(memory_mib * MEBIBYTE),
        # Processors are shared in proportion to memory, and are there for whoever needs them while others don't.
        "cpu.weight": str(max(1, min(10_000, memory_mib * 100 // 128))),
    }


def shared_memory_mib(tmp_mib: int) -> int:
    """The size of `/dev/shm` in MiB, where `/tmp` has this size."""
    return min(SHARED_MEMORY_MIB, tmp_mib)


def _limits(spec: ContainerSpec) -> dict[str, str]:
    return {
        **memory_limits(spec.memory_mib),
        "memory.swap.max": "0",
        # A function that lost one of its processes would go on in a state that nobody foresaw.
        "memory.oom.group": "1",
        "pids.max": str(MAX_PROCESSES),
        **({"cpu.weight": str(BACKGROUND_CPU_WEIGHT)} if spec.is_in_background else {}),
    }


def _mounts(spec: ContainerSpec, windows: Windows) -> list[dict[str, Any]]:
    shared_mib = shared_memory_mib(spec.tmp_mib)
    return [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "mode=755", "size=64k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        _mount(SHARED_MEMORY, "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", f"size={shared_mib}m"),
        _mount(HOME, "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777", f"size={spec.tmp_mib}m"),
        _mount("/etc/machine-id", "bind", str(identity.MACHINE_ID), "bind", "ro", "nosuid", "nodev", "noexec"),
        _mount(CODE, "bind", str(windows.code), "rbind", "rslave", "ro", "nosuid", "nodev"),
        _mount(LAYERS, "bind", str(windows.layers), "rbind", "rslave", "ro", "nosuid", "nodev"),
    ]


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
