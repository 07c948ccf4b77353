"""KVM is used where a guest gets somewhere with it; the decision is kept for as long as its reasons hold."""

import asyncio
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from stoker_hostagent import accelerator, canary

NO_QEMU = "/nonexistent/qemu"
needs_qemu = pytest.mark.skipif(shutil.which(accelerator.QEMU) is None, reason="QEMU is not installed")


def qemu_that(directory: Path, behaviour: str) -> str:
    """A program in QEMU's place that counts in `runs` how often a guest was tried."""
    program = directory / "qemu"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ echo QEMU 1.0; exit; }}\necho x >> {directory}/runs\n{behaviour}\n'
    )
    program.chmod(0o755)
    directory.chmod(0o777)
    (directory / "runs").write_text("")
    (directory / "runs").chmod(0o666)
    return str(program)


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that QEMU's user reaches too."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == "root" and os.geteuid() == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return tmp_path


@needs_qemu
async def test_a_guest_that_works_prints_its_line() -> None:
    trial = await canary.try_guest(accelerator.QEMU, "tcg", "max", time_limit_s=20)
    assert trial.is_alive, trial.detail


@needs_qemu
async def test_a_guest_without_an_accelerator_is_dead_and_the_reason_is_told() -> None:
    trial = await canary.try_guest(accelerator.QEMU, "no-such-accelerator", "max", time_limit_s=20)
    assert not trial.is_alive
    assert "no-such-accelerator" in trial.detail


async def test_without_a_kvm_device_guests_are_emulated(tmp_path: Path) -> None:
    chosen = await accelerator.choose(tmp_path, kvm_device=tmp_path / "kvm")
    assert chosen.kind == "qemu"
    assert str(tmp_path / "kvm") in chosen.reason


async def test_a_guest_that_hangs_is_given_up_in_time(directory: Path) -> None:
    begun_s = time.monotonic()
    chosen = await accelerator.choose(
        directory, qemu=qemu_that(directory, "exec sleep 60"), kvm_device=Path("/dev/null"), canary_s=0.3
    )
    assert chosen.kind == "qemu"
    assert "0.3 s" in chosen.reason
    assert time.monotonic() - begun_s < 5


async def test_a_cancelled_trial_leaves_no_process(directory: Path) -> None:
    program = qemu_that(directory, f"echo $$ > {directory}/pid; exec sleep 60")
    os.mkfifo(directory / "pid")
    (directory / "pid").chmod(0o666)
    trying = asyncio.create_task(canary.try_guest(program, "kvm", "host", time_limit_s=30))
    pid = int(await asyncio.to_thread((directory / "pid").read_text))
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_kvm_is_taken_where_the_guest_prints_and_what_it_had_to_do_without_is_remembered(directory: Path) -> None:
    qemu = qemu_that(
        directory, 'case "$*" in *arch-capabilities=off*) echo stoker-canary; exec sleep 60;; esac; exit 1'
    )
    chosen = await accelerator.choose(directory, qemu=qemu, kvm_device=Path("/dev/null"))
    assert (chosen.kind, chosen.disabled_cpu_features) == ("kvm", ("arch-capabilities",))
    assert await accelerator.choose(directory, qemu=qemu, kvm_device=Path("/dev/null")) == chosen


async def test_a_decision_is_made_once_until_the_device_changes(directory: Path) -> None:
    qemu = qemu_that(directory, "exit 1")
    device = directory / "kvm"
    device.touch(mode=0o600)
    first = await accelerator.choose(directory, qemu=qemu, kvm_device=device)
    tried = runs(directory)
    assert await accelerator.choose(directory, qemu=qemu, kvm_device=device) == first
    assert runs(directory) == tried
    device.chmod(0o660)
    await accelerator.choose(directory, qemu=qemu, kvm_device=device)
    assert runs(directory) == 2 * tried


@pytest.mark.parametrize("kept", ["", "{}", "[]", '{"fingerprint": 1}'])
async def test_a_broken_memory_is_no_obstacle(tmp_path: Path, kept: str) -> None:
    (tmp_path / "accelerator.json").write_text(kept)
    chosen = await accelerator.choose(tmp_path, kvm_device=tmp_path / "kvm")
    assert chosen.kind == "qemu"
    assert json.loads((tmp_path / "accelerator.json").read_text())["kind"] == "qemu"


async def test_what_the_configuration_says_is_taken_without_a_trial(tmp_path: Path) -> None:
    assert (await accelerator.choose(tmp_path, "kvm", qemu=NO_QEMU)).kind == "kvm"
    assert not (tmp_path / "accelerator.json").exists()
