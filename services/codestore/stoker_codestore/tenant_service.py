"""The services about what tenants may, and who signs their code: translate, call, translate back."""

from typing import Any

import grpc.aio
from google.protobuf.empty_pb2 import Empty
from stoker_protos.admin.v1 import tenant_policies_pb2, tenant_policies_pb2_grpc
from stoker_protos.v1 import signing_keys_pb2, signing_keys_pb2_grpc
from stoker_service.metadata import Context

from stoker_codestore import errors
from stoker_codestore.callers import calling_tenant
from stoker_codestore.quotas import Quota
from stoker_codestore.signing_keys import SigningKey, SigningKeys
from stoker_codestore.tenant_policies import QUOTAS, REQUIRE_SIGNED, TenantPolicies, TenantPolicy
from stoker_codestore.wire import timestamp

TENANT_SERVICES = (
    tenant_policies_pb2.DESCRIPTOR.services_by_name["TenantPolicyService"],
    signing_keys_pb2.DESCRIPTOR.services_by_name["SigningKeyService"],
)


def serve_tenants(policies: TenantPolicies, keys: SigningKeys, server: grpc.aio.Server) -> None:
    """Adds the services to a server."""
    tenant_policies_pb2_grpc.add_TenantPolicyServiceServicer_to_server(TenantPolicyServicer(policies), server)
    signing_keys_pb2_grpc.add_SigningKeyServiceServicer_to_server(SigningKeyServicer(keys), server)


class TenantPolicyServicer(tenant_policies_pb2_grpc.TenantPolicyServiceServicer):
    """Serves `stoker.admin.v1.TenantPolicyService`, for the frontend, which has asked for the admin key."""

    def __init__(self, policies: TenantPolicies) -> None:
        self._policies = policies

    async def GetTenantPolicy(
        self, request: tenant_policies_pb2.GetTenantPolicyRequest, context: Context
    ) -> tenant_policies_pb2.GetTenantPolicyResponse:
        """Returns a policy."""
        standing = await self._policies.get(request.tenant_id)
        usage = standing.usage
        return tenant_policies_pb2.GetTenantPolicyResponse(
            policy=_policy_message(request.tenant_id, standing.policy),
            effective_quota=_quota_message(standing.effective_quota),
            usage=tenant_policies_pb2.Usage(
                artifacts=usage.artifacts,
                total_bytes=usage.total_bytes,
                functions=usage.functions,
                versions=usage.versions,
            ),
        )

    async def UpdateTenantPolicy(
        self, request: tenant_policies_pb2.UpdateTenantPolicyRequest, context: Context
    ) -> tenant_policies_pb2.UpdateTenantPolicyResponse:
        """Changes a policy."""
        tenant = request.policy.tenant_id
        policy = await self._policies.update(tenant, _changes(request))
        return tenant_policies_pb2.UpdateTenantPolicyResponse(policy=_policy_message(tenant, policy))


class SigningKeyServicer(signing_keys_pb2_grpc.SigningKeyServiceServicer):
    """Serves `stoker.v1.SigningKeyService`."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def AddSigningKey(
        self, request: signing_keys_pb2.AddSigningKeyRequest, context: Context
    ) -> signing_keys_pb2.AddSigningKeyResponse:
        """Adds a key."""
        name, public_key = _key_in(request.signing_key.name), request.signing_key.public_key
        key = await self._keys.add(calling_tenant(context), name, public_key)
        return signing_keys_pb2.AddSigningKeyResponse(signing_key=_key_message(key))

    async def ListSigningKeys(
        self, request: signing_keys_pb2.ListSigningKeysRequest, context: Context
    ) -> signing_keys_pb2.ListSigningKeysResponse:
        """Lists keys."""
        keys = await self._keys.list(calling_tenant(context))
        return signing_keys_pb2.ListSigningKeysResponse(signing_keys=[_key_message(key) for key in keys])

    async def DeleteSigningKey(self, request: signing_keys_pb2.DeleteSigningKeyRequest, context: Context) -> Empty:
        """Ends a key."""
        await self._keys.delete(calling_tenant(context), _key_in(request.name))
        return Empty()


def _changes(request: tenant_policies_pb2.UpdateTenantPolicyRequest) -> dict[str, int | bool]:
    paths = {REQUIRE_SIGNED} | {f"quota.{name}" for name in QUOTAS}
    asked = set(request.update_mask.paths)
    if not asked or not asked <= paths:
        raise errors.invalid_field("update_mask", f"must name some of {', '.join(sorted(paths))}, and nothing else")
    quota: Any = request.policy.quota
    values: dict[str, int | bool] = {name: getattr(quota, name) for name in QUOTAS if f"quota.{name}" in asked}
    if REQUIRE_SIGNED in asked:
        values[REQUIRE_SIGNED] = request.policy.require_signed
    return values


def _policy_message(tenant: str, policy: TenantPolicy) -> tenant_policies_pb2.TenantPolicy:
    return tenant_policies_pb2.TenantPolicy(
        tenant_id=tenant, quota=_quota_message(policy.quota), require_signed=policy.require_signed
    )


def _quota_message(quota: Quota) -> tenant_policies_pb2.Quota:
    return tenant_policies_pb2.Quota(**{name: getattr(quota, name) for name in QUOTAS})


def _key_in(name: str) -> str:
    return name.split("/")[1]


def _key_message(key: SigningKey) -> signing_keys_pb2.SigningKey:
    return signing_keys_pb2.SigningKey(
        name=f"signingKeys/{key.name}",
        public_key=key.public_key,
        key_id=key.key_id,
        create_time=timestamp(key.create_time),
    )
