"""Time on the virtual clock."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation.clock import Stalled, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_an_hour_of_waiting_takes_no_time(loop: VirtualLoop) -> None:
    async def wait() -> float:
        await asyncio.sleep(3600.0)
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(wait()) == 3600.0


def test_what_is_due_at_the_same_time_is_done_in_the_order_in_which_it_was_asked_for(loop: VirtualLoop) -> None:
    done: list[int] = []
    for number in range(100):
        loop.call_at(2.0, done.append, number)
    loop.call_at(1.0, done.append, -1)
    loop.run_until_complete(asyncio.sleep(2.0))
    assert done == [-1, *range(100)]


def test_what_is_cancelled_is_not_done(loop: VirtualLoop) -> None:
    done: list[str] = []
    soon, later = loop.call_soon(done.append, "soon"), loop.call_at(1.0, done.append, "later")
    loop.call_at(2.0, done.append, "last")
    soon.cancel()
    later.cancel()
    loop.run_until_complete(asyncio.sleep(3.0))
    assert done == ["last"]


def test_a_timeout_comes_at_its_time(loop: VirtualLoop) -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert loop.run_until_complete(wait()) == 1.5


def test_what_a_callback_raises_breaks_the_run_off(loop: VirtualLoop) -> None:
    loop.call_at(1.0, [].pop)
    with pytest.raises(IndexError):
        loop.run_forever()


def test_waiting_for_what_nothing_will_do_is_found_out(loop: VirtualLoop) -> None:
    async def wait() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()

    waiting = loop.create_task(wait())
    with pytest.raises(Stalled):
        loop.run_forever()
    waiting.cancel()
    loop.run_until_complete(waiting)
