"""What a guest sees of the host is a read-only view, and nothing of it stays."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from stoker_hostagent.shares import Shares, is_mounted
from stoker_service.errors import StokerError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

VM = "vm-0123456789ab"


@pytest.fixture
async def shares(tmp_path: Path) -> AsyncGenerator[Shares]:
    """Shares below a directory of the test's own, which may not be mounted when it is removed."""
    made = Shares(tmp_path / "shares")
    yield made
    for vm_id in made.all():
        await made.unmount(vm_id)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A tenant's code."""
    directory = tmp_path / "code of a tenant"
    directory.mkdir()
    return directory


async def test_a_share_shows_what_comes_later_and_cannot_be_written_to(shares: Shares, code: Path) -> None:
    seen = await shares.mount(VM, code)
    (code / "late").write_text("news")
    assert (seen / "late").read_text() == "news"
    with pytest.raises(OSError, match="Read-only"):
        (seen / "mine").write_text("no")


async def test_mounting_twice_is_mounting_once(shares: Shares, code: Path) -> None:
    await shares.mount(VM, code)
    await shares.mount(VM, code)
    assert await shares.unmount(VM) == 1


async def test_nothing_is_left_and_the_code_is_untouched(shares: Shares, code: Path) -> None:
    (code / "main.py").write_text("pass")
    seen = await shares.mount(VM, code)
    assert is_mounted(seen)
    assert shares.all() == [VM]
    await shares.unmount(VM)
    assert not is_mounted(seen)
    assert shares.all() == []
    assert (code / "main.py").read_text() == "pass"


async def test_unmounting_what_is_not_there_does_nothing(shares: Shares) -> None:
    assert await shares.unmount(VM) == 0


async def test_a_share_of_nothing_is_refused_with_the_reason(shares: Shares, tmp_path: Path) -> None:
    with pytest.raises(StokerError, match="does not exist") as refused:
        await shares.mount(VM, tmp_path / "nowhere")
    assert refused.value.reason == "SHARE_FAILED"
