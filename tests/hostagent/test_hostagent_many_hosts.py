"""What is published reaches all hosts, and little of it comes from the codestore."""

import asyncio
from pathlib import Path

import pytest
from stoker_protos.v1 import deliveries_pb2

from tests.hostagent.many_hosts import MIB, many_hosts, tar_of

pytestmark = pytest.mark.thorough

HOSTS = 10
SIZE_BYTES = 8 * MIB
"""`benchmarks/push_ahead.py` does the same with 200 MiB."""


async def test_ten_hosts_get_an_artifact_and_the_codestore_sends_three_copies_at_most(tmp_path: Path) -> None:
    async with asyncio.timeout(60), many_hosts(tmp_path, HOSTS) as many:
        sha256 = await many.upload(tar_of(SIZE_BYTES))
        before = many.counter.sent_bytes
        hosts = await many.delivered(await many.publish(sha256))
        assert [each.state for each in hosts] == [deliveries_pb2.HOST_DELIVERY_STATE_DELIVERED] * HOSTS
        assert all((path / "code/acme" / sha256 / "main.py").is_file() for path in many.state_dirs)
        assert many.counter.sent_bytes - before <= 3 * SIZE_BYTES
        assert sum(not each.source for each in hosts) <= 3

        sha256 = await many.upload(tar_of(SIZE_BYTES, changed=3))
        before = many.counter.sent_bytes
        hosts = await many.delivered(await many.publish(sha256))
        assert [each.state for each in hosts] == [deliveries_pb2.HOST_DELIVERY_STATE_DELIVERED] * HOSTS
        assert max(each.fetched_bytes for each in hosts) <= 2 * MIB
        assert many.counter.sent_bytes - before <= 3 * 2 * MIB
