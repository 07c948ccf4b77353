"""The calls about what tenants may, as values. They are of the operators' API."""

from dataclasses import fields

from google.protobuf.field_mask_pb2 import FieldMask
from stoker_protos.admin.v1 import tenant_policies_pb2

from stoker.calls import Unary, UnaryOf
from stoker.errors import InvalidArgument
from stoker.names import check_name
from stoker.retries import Retry
from stoker.tenant_policies import Quota, TenantPolicy, Usage

QUOTAS = tuple(field.name for field in fields(Quota))


def get_tenant_policy(tenant: str) -> UnaryOf[TenantPolicy]:
    """Returns what a tenant may, and what it has stored."""
    return Unary(
        lambda stubs: stubs.tenant_policies.GetTenantPolicy,
        tenant_policies_pb2.GetTenantPolicyRequest(tenant_id=check_name(tenant, "tenant")),
        _policy_of,
        Retry.WHEN_UNAVAILABLE,
        is_admin=True,
    )


def set_quota(tenant: str, **quota: int) -> UnaryOf[None]:
    """Changes quotas by the names of `Quota`'s fields; 0 takes one back."""
    for name in quota:
        if name not in QUOTAS:
            raise InvalidArgument("INVALID_QUOTA", f"{name}: there is no such quota; there are {', '.join(QUOTAS)}")
    policy = tenant_policies_pb2.TenantPolicy(
        tenant_id=check_name(tenant, "tenant"), quota=tenant_policies_pb2.Quota(**quota)
    )
    return _update(policy, *(f"quota.{name}" for name in quota))


def require_signed(tenant: str, *, is_required: bool) -> UnaryOf[None]:
    """Says whether only signed code may be published and run."""
    policy = tenant_policies_pb2.TenantPolicy(tenant_id=check_name(tenant, "tenant"), require_signed=is_required)
    return _update(policy, "require_signed")


def _update(policy: tenant_policies_pb2.TenantPolicy, *paths: str) -> UnaryOf[None]:
    return Unary(
        lambda stubs: stubs.tenant_policies.UpdateTenantPolicy,
        tenant_policies_pb2.UpdateTenantPolicyRequest(policy=policy, update_mask=FieldMask(paths=paths)),
        lambda _: None,
        Retry.WHEN_UNAVAILABLE,
        is_admin=True,
    )


def _policy_of(response: tenant_policies_pb2.GetTenantPolicyResponse) -> TenantPolicy:
    usage = response.usage
    return TenantPolicy(
        tenant=response.policy.tenant_id,
        require_signed=response.policy.require_signed,
        quota=_quota_of(response.policy.quota),
        effective_quota=_quota_of(response.effective_quota),
        usage=Usage(usage.artifacts, usage.total_bytes, usage.functions, usage.versions),
    )


def _quota_of(message: tenant_policies_pb2.Quota) -> Quota:
    return Quota(
        message.max_artifact_bytes,
        message.max_artifacts,
        message.max_total_bytes,
        message.max_functions,
        message.max_versions,
    )
