"""Versions."""

import asyncio
from typing import Any

from stoker_protos.v1 import versions_pb2
from stoker_service.errors import ErrorKind
from stoker_service.paging import encode_token

from tests.codestore.world import ANN, BOB, CODE, OTHER_CODE, WITHIN_S, World, failure_of, sha256


def list_of(world: World, name: str, size: int = 0, token: str = "") -> Any:
    request = versions_pb2.ListVersionsRequest(parent=f"functions/{name}", page_size=size, page_token=token)
    return world.versions.ListVersions(request, metadata=ANN, timeout=WITHIN_S)


async def test_a_version_is_as_it_was_published_with_the_defaults_resolved(world: World) -> None:
    await world.upload()
    await world.create("hello")
    published = (await world.publish("hello", environment={"GREETING": "hé"}, description="first")).version
    assert published == (await world.version("hello", 1)).version
    assert published.uid
    assert published.HasField("create_time")
    assert published == versions_pb2.Version(
        name="functions/hello/versions/1",
        number=1,
        uid=published.uid,
        artifact=f"artifacts/{sha256(CODE)}",
        runtime=versions_pb2.RUNTIME_PYTHON3,
        handler="app.handler",
        memory_mib=128,
        timeout_s=30,
        tmp_mib=64,
        concurrency=1,
        environment={"GREETING": "hé"},
        description="first",
        create_time=published.create_time,
    )


async def test_what_the_client_says_of_server_given_fields_is_ignored(world: World) -> None:
    await world.upload()
    await world.create("hello")
    version = (await world.publish("hello", name="functions/x/versions/9", number=9, uid="mine")).version
    assert (version.name, version.number) == ("functions/hello/versions/1", 1)
    assert version.uid != "mine"


CHANGES: dict[str, Any] = {
    "data": OTHER_CODE,
    "runtime": versions_pb2.RUNTIME_NODEJS,
    "handler": "app.other",
    "memory_mib": 256,
    "timeout_s": 31,
    "tmp_mib": 65,
    "concurrency": 10,
    "environment": {"A": "b"},
    "description": "another",
}


async def test_publishing_what_the_newest_version_is_makes_nothing_new(world: World) -> None:
    await world.upload()
    await world.upload(OTHER_CODE)
    await world.create("hello")
    first = (await world.publish("hello")).version
    again = (await world.publish("hello", memory_mib=128, timeout_s=30, tmp_mib=64, concurrency=1)).version
    assert again == first
    for count, (field, value) in enumerate(CHANGES.items(), 1):
        changed = (await world.publish("hello", **{field: value})).version
        assert changed.number == 2 * count
        # What an older version was is another version than the newest.
        assert (await world.publish("hello")).version.number == 2 * count + 1


async def test_validating_publishes_nothing(world: World) -> None:
    await world.upload()
    await world.create("hello")
    checked = (await world.publish("hello", validate_only=True)).version
    assert (checked.number, checked.uid, checked.memory_mib) == (0, "", 128)
    assert not (await list_of(world, "hello")).versions
    assert (await world.get("hello")).function.latest_version == 0
    assert (
        await failure_of(world.publish("hello", data=OTHER_CODE, validate_only=True))
    ).reason == "ARTIFACT_NOT_FOUND"
    published = (await world.publish("hello")).version
    assert (await world.publish("hello", validate_only=True)).version == published


async def test_an_artifact_must_be_the_tenants_own(world: World) -> None:
    await world.upload(metadata=BOB)
    await world.create("hello")
    error = await failure_of(world.publish("hello"))
    assert (error.kind, error.reason, error.field) == (ErrorKind.NOT_FOUND, "ARTIFACT_NOT_FOUND", "version.artifact")
    assert error.message.startswith("version.artifact: there is no artifact")


async def test_concurrent_publishes_get_distinct_numbers(world: World) -> None:
    await world.upload()
    await world.create("hello")
    calls = [world.publish("hello", description=f"{number}") for number in range(20)]
    versions = [(await call).version for call in calls]
    assert sorted(version.number for version in versions) == list(range(1, 21))
    assert len({version.uid for version in versions}) == 20


async def test_the_same_published_at_once_is_published_once(world: World) -> None:
    await world.upload()
    await world.create("hello")
    versions = await asyncio.gather(*(world.publish("hello") for _ in range(8)))
    assert {answer.version.number for answer in versions} == {1}


async def test_a_number_is_never_given_twice(world: World) -> None:
    await world.deploy("hello", versions=3)
    await world.point("hello", "live", (1, 100))
    await world.delete_version("hello", 3)
    assert (await world.get("hello")).function.latest_version == 2
    assert (await world.publish("hello", description="new")).version.number == 4
    await world.delete_version("hello", 4)
    await world.delete_version("hello", 2)
    # Version 1 is the newest again, and the same as what is published.
    assert (await world.publish("hello", description="the 1.")).version.number == 1
    assert (await world.publish("hello", description="new")).version.number == 5


async def test_a_version_that_an_alias_names_is_not_deleted(world: World) -> None:
    await world.deploy("hello", versions=3)
    await world.point("hello", "canary", (1, 90), (2, 10))
    for number, alias in ((1, "canary"), (2, "canary"), (3, "live")):
        error = await failure_of(world.delete_version("hello", number))
        assert (error.kind, error.reason) == (ErrorKind.FAILED_PRECONDITION, "VERSION_IN_USE")
        assert error.metadata == {"alias": alias}
    await world.delete_alias("hello", "canary")
    await world.delete_version("hello", 1)
    error = await failure_of(world.delete_version("hello", 1))
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "VERSION_NOT_FOUND")


async def test_versions_are_listed_newest_first_page_by_page(world: World) -> None:
    await world.deploy("hello", versions=11)
    first = await list_of(world, "hello", size=4)
    # A version that is published meanwhile is not on later pages.
    await world.publish("hello", description="new")
    second = await list_of(world, "hello", size=4, token=first.next_page_token)
    third = await list_of(world, "hello", size=4, token=second.next_page_token)
    numbers = [[version.number for version in page.versions] for page in (first, second, third)]
    assert numbers == [[11, 10, 9, 8], [7, 6, 5, 4], [3, 2, 1]]
    assert third.next_page_token == ""


async def test_a_page_token_of_something_else_is_refused(world: World) -> None:
    await world.deploy("hello")
    for key in ("live", "0", "-1", "9" * 20):
        error = await failure_of(list_of(world, "hello", token=encode_token(key)))
        assert (error.reason, error.field) == ("INVALID_PAGE_TOKEN", "page_token")


async def test_a_nul_in_a_variable_is_refused_by_name(world: World) -> None:
    await world.deploy("hello")
    error = await failure_of(world.publish("hello", environment={"A": "x", "B": "a\0b"}))
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_FIELD",
        'version.environment["B"]',
    )


async def test_the_largest_environment_fits(world: World) -> None:
    await world.deploy("hello")
    environment = {f"VARIABLE_{number}": "€" * 4096 for number in range(64)}
    await world.publish("hello", environment=environment)
    assert dict((await world.version("hello", 2)).version.environment) == environment
