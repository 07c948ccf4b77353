"""What crun is told of a container."""

import json
from pathlib import Path

import pytest
from agent import seccomp
from agent.mounts import Windows
from agent.oci_config import ContainerSpec, config
from hypothesis import given
from hypothesis import strategies as st

WINDOWS = Windows(Path("/run/stoker/containers/c/code"), Path("/run/stoker/containers/c/layers"))

specs = st.builds(
    ContainerSpec,
    id=st.just("c-0123456789ab"),
    command=st.just(("/usr/bin/python3", "main.py")),
    memory_mib=st.integers(16, 65536),
    tmp_mib=st.integers(1, 65536),
    slot=st.integers(0, 63),
)


def made(spec: ContainerSpec) -> "dict[str, object]":
    return config(spec, "/run/stoker/root", WINDOWS, "/stoker/c", "x86_64")


@given(specs)
def test_every_container_is_hardened(spec: ContainerSpec) -> None:
    told = json.loads(json.dumps(made(spec)))
    process, linux = told["process"], told["linux"]
    assert told["root"]["readonly"]
    assert not any(process["capabilities"].values())
    assert process["noNewPrivileges"]
    assert process["user"]["uid"] != 0
    assert {each["type"] for each in linux["namespaces"]} == {
        "pid",
        "network",
        "ipc",
        "uts",
        "mount",
        "cgroup",
        "user",
    }
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    for mount in told["mounts"]:
        assert "nosuid" in mount["options"]
        assert mount["type"] not in ("sysfs", "cgroup")


@given(specs)
def test_limits_are_those_asked_for(spec: ContainerSpec) -> None:
    told = json.loads(json.dumps(made(spec)))
    limits = told["linux"]["resources"]["unified"]
    assert int(limits["memory.max"]) == spec.memory_mib * 2**20
    assert limits["memory.swap.max"] == "0"
    assert limits["memory.oom.group"] == "1"
    assert int(limits["pids.max"]) <= 512
    assert 1 <= int(limits["cpu.weight"]) <= 10_000
    (tmp,) = [mount for mount in told["mounts"] if mount["destination"] == "/tmp"]  # noqa: S108 - in the container
    assert f"size={spec.tmp_mib}m" in tmp["options"]


def test_code_appears_read_only_in_a_container_that_runs() -> None:
    told = json.loads(json.dumps(made(ContainerSpec("c-1", "python3", ("x",), 128, 16, 0))))
    (code,) = [mount for mount in told["mounts"] if mount["destination"] == "/var/task"]
    assert code["source"] == "/run/stoker/containers/c/code"
    assert {"rbind", "rslave", "ro", "nodev"} <= {*code["options"]}
    assert told["linux"]["rootfsPropagation"] == "rslave"


@given(st.integers(0, 63), st.integers(0, 63))
def test_no_two_containers_share_a_user_id(one: int, other: int) -> None:
    ranges = [
        range(spec.first_id, spec.first_id + 65536)
        for spec in (ContainerSpec("c", "python3", ("x",), 128, 16, slot) for slot in (one, other))
    ]
    assert (one == other) == bool(range(max(r.start for r in ranges), min(r.stop for r in ranges)))
    assert all(r.start >= 65536 for r in ranges), "a container must not have the ids of the VM's own users"


@pytest.mark.parametrize(
    "forbidden",
    [
        *(
            "mount",
            "umount2",
            "unshare",
            "setns",
            "pivot_root",
            "chroot",
            "ptrace",
            "process_vm_readv",
            "bpf",
            "keyctl",
        ),
        *("add_key", "request_key", "perf_event_open", "userfaultfd", "io_uring_setup", "init_module", "finit_module"),
        *(
            "kexec_load",
            "reboot",
            "swapon",
            "sethostname",
            "settimeofday",
            "clock_settime",
            "open_by_handle_at",
            "quotactl",
        ),
        *(
            "move_mount",
            "open_tree",
            "fsopen",
            "mount_setattr",
            "acct",
            "syslog",
            "iopl",
            "ioperm",
            "modify_ldt",
            "vhangup",
        ),
    ],
)
def test_system_calls_that_reach_beyond_the_container_are_not_on_the_list(forbidden: str) -> None:
    allowed = {name for rule in seccomp.profile("x86_64")["syscalls"] for name in rule["names"]}
    assert forbidden not in allowed


def test_system_calls_with_a_dangerous_argument_are_allowed_by_argument_alone() -> None:
    rules = seccomp.profile("x86_64")["syscalls"]
    for name in ("clone", "socket", "personality"):
        assert all(rule.get("args") for rule in rules if name in rule["names"])
    families = {rule["args"][0]["value"] for rule in rules if "socket" in rule["names"]}
    assert families == {1, 2, 10, 16}
    assert [rule["errnoRet"] for rule in rules if "clone3" in rule["names"]] == [38]


def test_no_system_call_is_listed_twice() -> None:
    names = [name for group in seccomp.ALLOWED.values() for name in group.split()]
    assert len(names) == len({*names})
