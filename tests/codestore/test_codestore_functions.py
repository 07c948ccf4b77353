"""Functions."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from stoker_protos.v1 import functions_pb2
from stoker_service.errors import ErrorKind

from tests.codestore.world import ANN, BOB, WITHIN_S, Metadata, World, failure_of


def list_of(world: World, metadata: Metadata = ANN, size: int = 0, token: str = "") -> Any:
    request = functions_pb2.ListFunctionsRequest(page_size=size, page_token=token)
    return world.functions.ListFunctions(request, metadata=metadata, timeout=WITHIN_S)


def describe(
    world: World, name: str, description: str, etag: str = "", mask: tuple[str, ...] = ("description",)
) -> Any:
    function = functions_pb2.Function(name=f"functions/{name}", description=description, etag=etag)
    request = functions_pb2.UpdateFunctionRequest(function=function, update_mask=FieldMask(paths=mask))
    return world.functions.UpdateFunction(request, metadata=ANN, timeout=WITHIN_S)


async def test_a_function_is_as_it_was_made(world: World) -> None:
    made = (await world.create("hello", description="says hello, ünïcode")).function
    assert made == (await world.get("hello")).function
    assert (made.name, made.description, made.latest_version) == ("functions/hello", "says hello, ünïcode", 0)
    assert made.uid
    assert made.etag
    assert made.create_time == made.update_time


async def test_a_name_can_be_given_once(world: World) -> None:
    await world.create("hello")
    error = await failure_of(world.create("hello"))
    assert (error.kind, error.reason, error.field) == (ErrorKind.ALREADY_EXISTS, "FUNCTION_EXISTS", "function.name")


async def test_tenants_see_only_their_own(world: World) -> None:
    await world.create("hello", ANN, "of ann")
    await world.create("hello", BOB, "of bob")
    await world.create("only-bobs", BOB)
    assert (await world.get("hello", ANN)).function.description == "of ann"
    assert (await world.get("hello", BOB)).function.description == "of bob"
    assert (await failure_of(world.get("only-bobs", ANN))).reason == "FUNCTION_NOT_FOUND"
    assert (await failure_of(world.delete("only-bobs", ANN))).reason == "FUNCTION_NOT_FOUND"
    assert [function.name for function in (await list_of(world, ANN)).functions] == ["functions/hello"]


async def test_lists_go_by_name_page_by_page(world: World) -> None:
    # The order of bytes, whatever language the database speaks: `-` is before digits, digits before letters.
    names = ["a", "a-b", "a0", "aa", "b", "z"]
    for name in reversed(names):
        await world.create(name)
    listed: list[str] = []
    token = ""
    pages = 0
    while pages == 0 or token:
        page = await list_of(world, size=2, token=token)
        listed += [function.name.removeprefix("functions/") for function in page.functions]
        token = page.next_page_token
        pages += 1
    assert (listed, pages) == (names, 3)


async def test_a_function_that_comes_between_two_pages_shifts_nothing(world: World) -> None:
    for name in ("b", "c", "d"):
        await world.create(name)
    first = await list_of(world, size=2)
    await world.create("a")
    await world.delete("c")
    second = await list_of(world, size=2, token=first.next_page_token)
    assert [function.name for function in second.functions] == ["functions/d"]


async def test_a_page_token_that_was_never_given_is_refused(world: World) -> None:
    error = await failure_of(list_of(world, token="?"))
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.INVALID_ARGUMENT,
        "INVALID_PAGE_TOKEN",
        "page_token",
    )


async def test_the_description_can_be_changed(world: World) -> None:
    made = (await world.create("hello", description="old")).function
    changed = (await describe(world, "hello", "new")).function
    assert changed == (await world.get("hello")).function
    assert (changed.description, changed.uid, changed.create_time) == ("new", made.uid, made.create_time)
    assert changed.etag != made.etag
    assert changed.update_time.ToNanoseconds() > made.update_time.ToNanoseconds()


async def test_a_mask_that_names_another_field_is_refused(world: World) -> None:
    await world.create("hello")
    masks: list[tuple[str, ...]] = [(), ("name",), ("description", "etag"), ("*",)]
    for mask in masks:
        error = await failure_of(describe(world, "hello", "new", mask=mask))
        assert (error.kind, error.reason, error.field) == (ErrorKind.INVALID_ARGUMENT, "INVALID_FIELD", "update_mask")


async def test_a_stale_etag_changes_nothing(world: World) -> None:
    stale = (await world.create("hello")).function.etag
    fresh = (await describe(world, "hello", "first", stale)).function.etag
    for call, field in (
        (describe(world, "hello", "second", stale), "function.etag"),
        (world.delete("hello", etag=stale), "etag"),
    ):
        error = await failure_of(call)
        assert (error.kind, error.reason, error.field) == (ErrorKind.ABORTED, "ETAG_MISMATCH", field)
    assert (await world.get("hello")).function.description == "first"
    await world.delete("hello", etag=fresh)
    assert (await failure_of(world.get("hello"))).reason == "FUNCTION_NOT_FOUND"


async def test_a_deleted_function_takes_its_versions_and_aliases_along(world: World) -> None:
    await world.deploy("hello", versions=2)
    before = (await world.get("hello")).function
    assert before.latest_version == 2
    await world.delete("hello")
    assert (await failure_of(world.resolve("ann", "hello", "live"))).reason == "FUNCTION_NOT_FOUND"
    after = (await world.create("hello")).function
    assert after.uid != before.uid
    assert (await failure_of(world.version("hello", 1))).reason == "VERSION_NOT_FOUND"
    assert (await failure_of(world.alias("hello", "live"))).reason == "ALIAS_NOT_FOUND"
    assert (await world.publish("hello")).version.number == 1


async def test_what_is_not_there_says_so(world: World) -> None:
    missing = [
        world.get("missing"),
        world.delete("missing"),
        describe(world, "missing", "x"),
        world.publish("missing"),
        world.version("missing", 1),
        world.delete_version("missing", 1),
        world.create_alias("missing", "live", (1, 100)),
        world.point("missing", "live", (1, 100)),
        world.alias("missing", "live"),
        world.delete_alias("missing", "live"),
        world.resolve("ann", "missing", "live"),
    ]
    for call in missing:
        error = await failure_of(call)
        assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND")


async def test_a_request_without_a_tenant_is_refused(world: World) -> None:
    error = await failure_of(world.get("hello", ()))
    assert (error.kind, error.reason) == (ErrorKind.UNAUTHENTICATED, "TENANT_MISSING")
    error = await failure_of(world.get("hello", (("stoker-tenant", "Not A Tenant"),)))
    assert (error.kind, error.reason) == (ErrorKind.UNAUTHENTICATED, "TENANT_INVALID")


async def test_a_nul_in_a_text_is_refused_by_name(world: World) -> None:
    error = await failure_of(world.create("hello", description="a\0b"))
    assert (error.reason, error.field) == ("INVALID_FIELD", "function.description")
