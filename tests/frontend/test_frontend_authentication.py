"""Who may call what."""

from typing import Any

import pytest
from stoker_frontend import api_keys
from stoker_protos.admin.v1 import fleet_pb2, tenants_pb2
from stoker_protos.v1 import functions_pb2
from stoker_service.errors import ErrorKind

from tests.frontend.codestore_peer import spec_of
from tests.frontend.peers import WITHIN_S
from tests.frontend.world import Metadata, World, bearer, failure_of, running_world

UNKNOWN = api_keys.generate()


def list_functions(world: World, key: Metadata) -> Any:
    return world.functions.ListFunctions(functions_pb2.ListFunctionsRequest(), timeout=WITHIN_S, metadata=key)


def list_tenants(world: World, key: Metadata) -> Any:
    return world.tenants.ListTenants(tenants_pb2.ListTenantsRequest(), timeout=WITHIN_S, metadata=key)


def key_id_of(key: Metadata) -> str:
    return key[0][1].split(".")[1]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "API_KEY_MISSING"),
        ((("authorization", ""),), "API_KEY_INVALID"),
        ((("authorization", UNKNOWN.text),), "API_KEY_INVALID"),
        ((("authorization", f"Basic {UNKNOWN.text}"),), "API_KEY_INVALID"),
        (bearer("stk.nonsense"), "API_KEY_INVALID"),
        (bearer(UNKNOWN.text + "x"), "API_KEY_INVALID"),
        (bearer(UNKNOWN.text), "API_KEY_INVALID"),
    ],
)
async def test_without_a_known_key_nothing_is_answered(metadata: Metadata, reason: str) -> None:
    async with running_world() as world:
        errors = [await failure_of(list_functions(world, metadata)), await failure_of(list_tenants(world, metadata))]
    assert [(error.kind, error.reason) for error in errors] == [(ErrorKind.UNAUTHENTICATED, reason)] * 2


async def test_a_known_key_with_another_secret_is_refused() -> None:
    async with running_world() as world:
        forged = api_keys.ApiKey(key_id_of(world.keys["ann"]), UNKNOWN.secret)
        error = await failure_of(list_functions(world, bearer(forged.text)))
        forged_admin = api_keys.ApiKey(key_id_of(world.admin), UNKNOWN.secret)
        admin_error = await failure_of(list_tenants(world, bearer(forged_admin.text)))
    assert (error.reason, admin_error.reason) == ("API_KEY_INVALID", "API_KEY_INVALID")


async def test_each_kind_of_key_opens_its_own_api_alone() -> None:
    async with running_world() as world:
        of_admin = await failure_of(list_functions(world, world.admin))
        of_tenant = await failure_of(list_tenants(world, world.keys["ann"]))
        fleet = world.fleet.GetFleet(fleet_pb2.GetFleetRequest(), timeout=WITHIN_S, metadata=world.keys["ann"])
        of_tenant_for_fleet = await failure_of(fleet)
    assert (of_admin.kind, of_admin.reason) == (ErrorKind.PERMISSION_DENIED, "TENANT_KEY_REQUIRED")
    assert (of_tenant.kind, of_tenant.reason) == (ErrorKind.PERMISSION_DENIED, "ADMIN_KEY_REQUIRED")
    assert of_tenant_for_fleet.reason == "ADMIN_KEY_REQUIRED"


async def test_a_revoked_key_ends_at_once_although_it_was_just_used() -> None:
    async with running_world() as world:
        await list_functions(world, world.keys["ann"])
        made = await world.tenants.CreateApiKey(
            tenants_pb2.CreateApiKeyRequest(tenant_id="ann"), timeout=WITHIN_S, metadata=world.admin
        )
        revoke = tenants_pb2.RevokeApiKeyRequest(key_id=key_id_of(world.keys["ann"]))
        await world.tenants.RevokeApiKey(revoke, timeout=WITHIN_S, metadata=world.admin)
        error = await failure_of(list_functions(world, world.keys["ann"]))
        answer = await list_functions(world, bearer(made.api_key))
    assert error.reason == "API_KEY_INVALID"
    assert [function.name for function in answer.functions] == ["functions/hello"]


async def test_tenants_see_and_run_only_their_own() -> None:
    async with running_world() as world:
        world.codestore.put(spec_of("bob", "secret"))
        of_ann = await list_functions(world, world.keys["ann"])
        of_bob = await list_functions(world, world.keys["bob"])
        error = await failure_of(world.invoke(tenant="ann", function="secret"))
        await world.invoke(tenant="ann")
        await world.invoke(tenant="bob")
        with_foreign_tenant = (*world.keys["ann"], ("stoker-tenant", "bob"))
        of_liar = await list_functions(world, with_foreign_tenant)
    assert [function.name for function in of_ann.functions] == ["functions/hello"]
    assert [function.name for function in of_bob.functions] == ["functions/hello", "functions/secret"]
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "FUNCTION_NOT_FOUND")
    assert world.scheduler.acquired == ["ann-hello-1", "bob-hello-1"], "same name, but never one container"
    assert of_liar == of_ann
