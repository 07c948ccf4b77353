"""Tenants and keys, on each kind of database."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from stoker_frontend.frontend import MIGRATIONS
from stoker_protos.admin.v1 import tenant_policies_pb2, tenants_pb2
from stoker_service import sql
from stoker_service.errors import ErrorKind
from stoker_service.sql import migrate, open_engine

from tests.frontend.peers import WITHIN_S
from tests.frontend.world import World, bearer, failure_of, running_world
from tests.postgresql import PostgreSql


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/new/frontend.db"
    server: PostgreSql = request.getfixturevalue("postgresql")
    return server.make_database()


def create_tenant(world: World, tenant_id: str) -> Any:
    request = tenants_pb2.CreateTenantRequest(tenant_id=tenant_id)
    return world.tenants.CreateTenant(request, timeout=WITHIN_S, metadata=world.admin)


def list_tenants(world: World, **fields: Any) -> Any:
    request = tenants_pb2.ListTenantsRequest(**fields)
    return world.tenants.ListTenants(request, timeout=WITHIN_S, metadata=world.admin)


def revoke(world: World, key_id: str) -> Any:
    request = tenants_pb2.RevokeApiKeyRequest(key_id=key_id)
    return world.tenants.RevokeApiKey(request, timeout=WITHIN_S, metadata=world.admin)


async def test_a_tenant_is_made_with_a_key_that_works(database_url: str) -> None:
    async with running_world(database_url=database_url) as world:
        made = await create_tenant(world, "cleo")
        again = await failure_of(create_tenant(world, "cleo"))
        world.keys["cleo"] = bearer(made.api_key)
        unknown_function = await failure_of(world.invoke(tenant="cleo"))
    assert made.tenant.id == "cleo"
    assert made.tenant.create_time.seconds > 0
    assert (again.kind, again.reason, again.field) == (ErrorKind.ALREADY_EXISTS, "TENANT_EXISTS", "tenant_id")
    assert unknown_function.reason == "FUNCTION_NOT_FOUND", "the key is known"


async def test_tenants_are_listed_by_name_in_pages(database_url: str) -> None:
    async with running_world(database_url=database_url) as world:
        for number in range(5):
            await create_tenant(world, f"t{number}")
        pages: list[list[str]] = []
        token = ""
        while not pages or token:
            page = await list_tenants(world, page_size=3, page_token=token)
            pages.append([tenant.id for tenant in page.tenants])
            token = page.next_page_token
        everything = await list_tenants(world)
    assert pages == [["ann", "bob", "t0"], ["t1", "t2", "t3"], ["t4"]]
    assert (len(everything.tenants), everything.next_page_token) == (7, "")


async def test_keys_are_made_and_revoked(database_url: str) -> None:
    async with running_world(database_url=database_url, key_cache_ttl_s=300) as world:
        await world.invoke()
        key_id = world.keys["ann"][0][1].split(".")[1]
        await revoke(world, key_id)
        await revoke(world, key_id)
        refused = await failure_of(world.invoke())
        unknown = await failure_of(revoke(world, "0" * 16))
        request = tenants_pb2.CreateApiKeyRequest(tenant_id="nobody")
        nobody = await failure_of(world.tenants.CreateApiKey(request, timeout=WITHIN_S, metadata=world.admin))
    assert refused.reason == "API_KEY_INVALID"
    assert (unknown.kind, unknown.reason, unknown.field) == (ErrorKind.NOT_FOUND, "API_KEY_NOT_FOUND", "key_id")
    assert (nobody.kind, nobody.reason, nobody.field) == (ErrorKind.NOT_FOUND, "TENANT_NOT_FOUND", "tenant_id")


async def test_everything_is_there_again_after_a_restart(database_url: str) -> None:
    async with running_world(database_url=database_url) as world:
        key = world.keys["ann"]
    async with running_world(database_url=database_url, tenants=()) as world:
        world.keys["ann"] = key
        await world.invoke()


async def test_several_frontends_bring_one_database_up_to_date(database_url: str) -> None:
    engines = [open_engine(database_url) for _ in range(4)]
    try:
        await asyncio.gather(*(migrate(engine, MIGRATIONS) for engine in engines))
    finally:
        for engine in engines:
            await engine.dispose()


async def test_a_name_that_two_ask_for_at_once_goes_to_one(database_url: str) -> None:
    async def outcome(call: Any) -> str:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async with running_world(database_url=database_url) as world:
        outcomes = await asyncio.gather(*(outcome(create_tenant(world, "cleo")) for _ in range(5)))
    assert sorted(outcomes) == ["ALREADY_EXISTS"] * 4 + ["OK"]


async def test_a_database_that_does_not_answer_is_told_and_no_key_is_taken_for_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BUSY_TIMEOUT_S", 0.2)
    file = tmp_path / "frontend.db"
    async with running_world(database_url=f"sqlite+aiosqlite:///{file}", key_cache_ttl_s=0) as world:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            error = await failure_of(world.invoke())
        await world.invoke()
    assert (error.kind, error.reason) == (ErrorKind.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert error.retry_after_s is not None


async def test_what_a_tenant_may_is_set_by_the_operator_for_tenants_that_there_are(tmp_path: Path) -> None:
    async with running_world(database_url=f"sqlite+aiosqlite:///{tmp_path}/frontend.db") as world:
        await create_tenant(world, "cleo")

        def update(tenant_id: str, metadata: Any = world.admin) -> Any:
            policy = tenant_policies_pb2.TenantPolicy(tenant_id=tenant_id, require_signed=True)
            mask = FieldMask(paths=["require_signed"])
            request = tenant_policies_pb2.UpdateTenantPolicyRequest(policy=policy, update_mask=mask)
            return world.policies.UpdateTenantPolicy(request, timeout=WITHIN_S, metadata=metadata)

        def get(tenant_id: str) -> Any:
            request = tenant_policies_pb2.GetTenantPolicyRequest(tenant_id=tenant_id)
            return world.policies.GetTenantPolicy(request, timeout=WITHIN_S, metadata=world.admin)

        assert (await update("cleo")).policy.require_signed
        assert (await get("cleo")).policy.require_signed
        for call in (update("nobody"), get("nobody")):
            assert (await failure_of(call)).reason == "TENANT_NOT_FOUND"
        tenant_key = next(iter(world.keys.values()))
        assert (await failure_of(update("cleo", tenant_key))).reason == "ADMIN_KEY_REQUIRED"
