"""Serves what tenants may: the codestore keeps and enforces it, the frontend knows which tenants there are."""

import grpc.aio
from stoker_protos.admin.v1 import tenant_policies_pb2, tenant_policies_pb2_grpc
from stoker_service.metadata import Context

from stoker_frontend.codestore import ANSWER_S, error_of
from stoker_frontend.tenants import Tenants


class TenantPolicyServicer:
    """Serves `stoker.admin.v1.TenantPolicyService`."""

    def __init__(self, tenants: Tenants, codestore: grpc.aio.Channel) -> None:
        self._tenants = tenants
        self._policies = tenant_policies_pb2_grpc.TenantPolicyServiceStub(codestore)

    async def GetTenantPolicy(
        self, _tenant: str, request: tenant_policies_pb2.GetTenantPolicyRequest, _context: Context
    ) -> tenant_policies_pb2.GetTenantPolicyResponse:
        """Returns a policy."""
        await self._tenants.check_exists(request.tenant_id)
        try:
            return await self._policies.GetTenantPolicy(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure

    async def UpdateTenantPolicy(
        self, _tenant: str, request: tenant_policies_pb2.UpdateTenantPolicyRequest, _context: Context
    ) -> tenant_policies_pb2.UpdateTenantPolicyResponse:
        """Changes a policy."""
        await self._tenants.check_exists(request.policy.tenant_id)
        try:
            return await self._policies.UpdateTenantPolicy(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from failure
