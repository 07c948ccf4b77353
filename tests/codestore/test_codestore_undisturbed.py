"""What must not be cut off is done to its end."""

import asyncio

import pytest
from stoker_codestore.undisturbed import to_the_end


async def test_work_is_done_to_its_end_though_its_caller_is_cancelled() -> None:
    begun, may_end, has_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        has_ended.set()
        raise ValueError("nobody hears of it")

    caller = asyncio.ensure_future(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    done, _ = await asyncio.wait([caller], timeout=0.01)
    assert not done
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert has_ended.is_set()


async def test_what_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("heard")

    with pytest.raises(ValueError, match="heard"):
        await to_the_end(work())
