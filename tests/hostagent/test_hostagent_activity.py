"""What nobody waits for is done when nobody waits for anything else."""

import asyncio

from stoker_hostagent.activity import Activity

VM, OTHER_VM = "vm-000000000001", "vm-000000000002"


async def test_a_vm_in_which_nothing_goes_on_is_quiet_after_the_pause() -> None:
    begun_s = asyncio.get_running_loop().time()
    assert await Activity().quiet(VM, for_s=0.05, within_s=5)
    assert 0.04 <= asyncio.get_running_loop().time() - begun_s < 2


async def test_it_is_not_quiet_while_something_is_under_way_there() -> None:
    activity = Activity()
    with activity.under_way(VM):
        assert not await activity.quiet(VM, for_s=0.01, within_s=0.05)
        assert await activity.quiet(OTHER_VM, for_s=0.01, within_s=5)
        waiting = asyncio.create_task(activity.quiet(VM, for_s=0.01, within_s=5))
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
    assert await waiting


async def test_what_begins_in_the_pause_begins_it_anew() -> None:
    activity = Activity()
    waiting = asyncio.create_task(activity.quiet(VM, for_s=0.1, within_s=5))
    loop = asyncio.get_running_loop()
    last_s = loop.time()
    for _ in range(4):
        await asyncio.wait([waiting], timeout=0.03)
        with activity.under_way(VM):
            last_s = loop.time()
    assert await waiting
    assert loop.time() - last_s >= 0.09
