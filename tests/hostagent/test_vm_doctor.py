"""Each check that fails says what to do."""

import os
import pwd
from pathlib import Path

import pytest
from stoker_hostagent import doctor
from stoker_hostagent.vm import VmSettings

QEMU_USER = pwd.struct_passwd(("libvirt-qemu", "x", 64055, 107, "", "/", "/bin/false"))


@pytest.mark.parametrize(
    ("mode", "owner", "group", "may"),
    [
        (0o660, 0, 107, True),
        (0o660, 0, 0, False),
        (0o600, 0, 107, False),
        (0o666, 0, 0, True),
        (0o600, 64055, 0, True),
        (0o666, 64055, 0, True),
        (0o066, 64055, 107, False),
    ],
)
def test_who_may_open_a_device(mode: int, owner: int, group: int, may: bool) -> None:
    device = os.stat_result((0o020000 | mode, 0, 0, 1, owner, group, 0, 0, 0, 0))
    assert doctor.may_open(device, QEMU_USER, [107]) is may


async def test_every_check_is_told_and_what_fails_has_a_fix(tmp_path: Path) -> None:
    settings = VmSettings(
        "host-1",
        tmp_path / "state" / "of" / "none",
        tmp_path / "no images",
        libvirt_uri="qemu+unix:///system?socket=/nonexistent",
        accelerator="qemu",
    )
    checks = {check.check: check for check in await doctor.run(settings)}
    assert list(checks) == [
        "rights",
        "qemu",
        "kvm_device",
        "accelerator",
        "libvirt",
        "virtlogd",
        "virtiofsd",
        "guest_image",
        "disk",
        "templates",
        "memory",
    ]
    assert not checks["libvirt"].ok
    assert not checks["guest_image"].ok
    assert all(check.ok or check.fix for check in checks.values())
    assert all(check.detail for check in checks.values())


async def test_templates_that_would_fill_the_disk_are_told(tmp_path: Path) -> None:
    memory = tmp_path / "templates" / "a" / "memory"
    memory.parent.mkdir(parents=True)
    memory.write_bytes(bytes(2 * 1024**2))
    settings = VmSettings("host-1", tmp_path, tmp_path / "no images", accelerator="qemu", templates_mib=1 << 40)
    found = {check.check: check for check in await doctor.run(settings)}["templates"]
    assert not found.ok
    assert found.detail.startswith("1 take 2 MiB; they may take")
    assert "STOKER_HOSTAGENT_TEMPLATES_MIB" in found.fix
