"""Several invocations at once in a container, containers that are kept loaded, and limits: through the whole system."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import stoker
import stoker.aio
from stoker.errors import DeadlineExceeded, ResourceExhausted
from stoker.models import FunctionErrorKind, Start

from tests.system.conftest import write_function
from tests.system.running_stoker import RunningStoker

MOST = 10
PYTHON = """
import asyncio

met = asyncio.Event()
waiting = 0

async def handler(event, context):
    global waiting
    match event["do"]:
        case "meet":
            print("I am", event["me"])
            waiting += 1
            if waiting == event["number"]:
                met.set()
            await met.wait()
            return event["me"]
        case "hang":
            print("hanging", event["me"])
            await asyncio.Event().wait()
        case "block":
            while True:
                pass
        case "answer":
            return "fine"
"""
NODEJS = """
let waiting = 0;
let meet;
const met = new Promise((resolve) => { meet = resolve; });
exports.handler = async (event) => {
  console.log(`I am ${event.me}`);
  waiting += 1;
  if (waiting === event.number) meet();
  await met;
  return event.me;
};
"""
SLEEP = """
import time

def handler(event, context):
    print(f"sleeping for {event} s")
    time.sleep(event)
    return "slept"
"""
KEPT_S = 60
"""How long it may take until a container is there, or gone, in seconds."""


@pytest.fixture
async def aio_client(system: RunningStoker) -> AsyncIterator[stoker.aio.Client]:
    """A client of the tenant `dev` for many calls at once."""
    configuration = system.configuration()
    async with stoker.aio.Client(system.endpoint, api_key=configuration["api_key"]) as client:
        yield client


@pytest.fixture(scope="module")
def shared(system: RunningStoker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A function whose invocations share a container."""
    code = write_function(tmp_path_factory.mktemp("shared"), PYTHON)
    with system.client() as client:
        client.deploy("shared", code, runtime="python3", handler="main.handler", concurrency=MOST, timeout_s=10)
    return "shared"


async def printed(client: stoker.aio.Client, function: str, text: str) -> None:
    """Waits until a function has printed a line."""
    async with asyncio.timeout(60), aclosing(client.tail_logs(function, follow=True)) as lines:
        async for line in lines:
            if line.line == text:
                return


async def check_all_meet(client: stoker.aio.Client, function: str) -> None:
    """Runs as many as one container can, each of which waits for all others, and checks whose output is whose."""
    results = await asyncio.gather(
        *(
            client.invoke(function, {"do": "meet", "me": me, "number": MOST}, log_tail=True, timeout_s=120)
            for me in range(MOST)
        )
    )
    assert [result.raise_for_error().json() for result in results] == list(range(MOST))
    assert len({result.container for result in results}) == 1
    assert Counter(result.start is Start.WARM for result in results) == {True: MOST - 1, False: 1}
    assert [result.log_tail for result in results] == [f"I am {me}\n" for me in range(MOST)]
    lines = {line.invocation_id: line.line async for line in client.tail_logs(function)}
    assert [lines[result.invocation_id] for result in results] == [f"I am {me}" for me in range(MOST)]


async def test_ten_invocations_meet_in_one_container_and_each_has_its_own_log(
    aio_client: stoker.aio.Client, shared: str
) -> None:
    await check_all_meet(aio_client, shared)


async def test_promises_meet_in_one_container_too(aio_client: stoker.aio.Client, tmp_path: Path) -> None:
    code = write_function(tmp_path, NODEJS, "index.js")
    await aio_client.deploy("shared-node", code, runtime="nodejs", handler="index.handler", concurrency=MOST)
    await check_all_meet(aio_client, "shared-node")


async def test_one_that_leaves_and_one_that_is_late_end_alone(aio_client: stoker.aio.Client, shared: str) -> None:
    first = await aio_client.invoke(shared, {"do": "answer"}, timeout_s=120)
    late = asyncio.create_task(aio_client.invoke(shared, {"do": "hang", "me": 1}, timeout_s=120))
    with pytest.raises(DeadlineExceeded):
        await aio_client.invoke(shared, {"do": "hang", "me": 2}, timeout_s=1)
    error = (await late).function_error
    assert error is not None
    assert (error.kind, error.message) == (
        FunctionErrorKind.TIMEOUT,
        "the invocation took longer than 10 s and was cancelled",
    )
    after = await aio_client.invoke(shared, {"do": "answer"}, timeout_s=120)
    assert (after.start, after.container) == (Start.WARM, first.container)


async def test_one_that_blocks_all_others_is_killed_with_them(aio_client: stoker.aio.Client, shared: str) -> None:
    first = await aio_client.invoke(shared, {"do": "answer"}, timeout_s=120)
    other = asyncio.create_task(aio_client.invoke(shared, {"do": "hang", "me": 3}, timeout_s=120))
    await printed(aio_client, shared, "hanging 3")
    with pytest.raises(DeadlineExceeded):
        await aio_client.invoke(shared, {"do": "block"}, timeout_s=1)
    error = (await other).function_error
    assert error is not None
    assert (error.kind, error.type) == (FunctionErrorKind.EXIT, "Killed")
    after = await aio_client.invoke(shared, {"do": "answer"}, timeout_s=120)
    assert after.json() == "fine"
    assert after.container != first.container


async def test_one_that_blocks_after_its_caller_has_left_costs_no_later_invocation(
    aio_client: stoker.aio.Client, system: RunningStoker, shared: str
) -> None:
    blocked = (await aio_client.invoke(shared, {"do": "answer"}, timeout_s=120)).container
    with pytest.raises(DeadlineExceeded):
        await aio_client.invoke(shared, {"do": "block"}, timeout_s=1)
    begun_s = time.monotonic()
    while any(container.id == blocked for container in (await asyncio.to_thread(system.fleet)).containers):
        assert time.monotonic() - begun_s < KEPT_S, "the container lives on"
        await asyncio.sleep(0.2)
    assert (await aio_client.invoke(shared, {"do": "answer"}, timeout_s=120)).json() == "fine"


async def test_a_handler_that_cannot_share_is_refused_with_what_to_do(
    aio_client: stoker.aio.Client, tmp_path: Path
) -> None:
    code = write_function(tmp_path, "def handler(event, context):\n    return 1\n")
    await aio_client.deploy("alone", code, runtime="python3", handler="main.handler", concurrency=2)
    error = (await aio_client.invoke("alone", timeout_s=120)).function_error
    assert error is not None
    assert (error.kind, error.type) == (FunctionErrorKind.LOAD, "HandlerNotAsync")


async def test_provisioned_containers_are_there_before_anybody_asks(
    aio_client: stoker.aio.Client, system: RunningStoker, tmp_path: Path
) -> None:
    code = write_function(tmp_path, SLEEP)
    await aio_client.deploy("kept", code, runtime="python3", handler="main.handler")
    await aio_client.set_concurrency("kept", provisioned=1)
    begun_s = time.monotonic()
    while not (await aio_client.get_concurrency("kept")).loaded:
        assert time.monotonic() - begun_s < KEPT_S, "no container was loaded"
        await asyncio.sleep(0.2)
    assert (await aio_client.invoke("kept", 0, timeout_s=60)).start is Start.WARM
    assert system.run("concurrency", "show", "kept").stdout.splitlines()[1].split()[:4] == ["kept", "1", "-", "1"]
    await aio_client.set_concurrency("kept", provisioned=0)


async def test_what_is_over_a_maximum_is_refused_at_once(
    aio_client: stoker.aio.Client, system: RunningStoker, tmp_path: Path
) -> None:
    code = write_function(tmp_path, SLEEP)
    await aio_client.deploy("limited", code, runtime="python3", handler="main.handler")
    await aio_client.invoke("limited", 0, timeout_s=120)
    await aio_client.set_concurrency("limited", maximum=1)
    running = asyncio.create_task(aio_client.invoke("limited", 8, timeout_s=60))
    await printed(aio_client, "limited", "sleeping for 8 s")
    with pytest.raises(ResourceExhausted) as caught:
        await aio_client.invoke("limited", 0, timeout_s=60)
    assert caught.value.retry_after_s is not None
    assert not running.done()
    done = await asyncio.to_thread(system.run, "invoke", "limited", "--data", "0", check=False)
    assert done.returncode == 3
    assert "limited" in done.stderr
    assert "again" in done.stderr
    assert (await running).json() == "slept"
    assert (await aio_client.invoke("limited", 0, timeout_s=60)).json() == "slept"
