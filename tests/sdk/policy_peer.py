"""The part of the small Stoker that keeps signing keys and what tenants may."""

import hashlib
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from stoker_protos.admin.v1 import tenant_policies_pb2
from stoker_protos.v1 import signing_keys_pb2

_NOW = Timestamp(seconds=1_700_000_000)


class PolicyPeer:
    """Signing keys and policies."""

    def __init__(self) -> None:
        super().__init__()
        self.signing_keys: dict[str, signing_keys_pb2.SigningKey] = {}
        self.policy = tenant_policies_pb2.TenantPolicy(tenant_id="shop")

    def AddSigningKey(self, request: Any, _context: Any) -> Any:
        key = request.signing_key
        key.key_id = hashlib.sha256(key.public_key).hexdigest()[:32]
        key.create_time.CopyFrom(_NOW)
        self.signing_keys[key.name] = key
        return signing_keys_pb2.AddSigningKeyResponse(signing_key=key)

    def ListSigningKeys(self, _request: Any, _context: Any) -> Any:
        keys = [self.signing_keys[name] for name in sorted(self.signing_keys)]
        return signing_keys_pb2.ListSigningKeysResponse(signing_keys=keys)

    def DeleteSigningKey(self, request: Any, _context: Any) -> Any:
        del self.signing_keys[request.name]
        return Empty()

    def GetTenantPolicy(self, _request: Any, _context: Any) -> Any:
        quota = tenant_policies_pb2.Quota(
            max_artifact_bytes=self.policy.quota.max_artifact_bytes or 256 * 1024**2,
            max_artifacts=self.policy.quota.max_artifacts or 10_000,
            max_total_bytes=self.policy.quota.max_total_bytes or 1024**3,
            max_functions=self.policy.quota.max_functions or 1000,
            max_versions=self.policy.quota.max_versions or 20_000,
        )
        usage = tenant_policies_pb2.Usage(artifacts=3, total_bytes=3 * 1024**2, functions=1, versions=4)
        return tenant_policies_pb2.GetTenantPolicyResponse(policy=self.policy, effective_quota=quota, usage=usage)

    def UpdateTenantPolicy(self, request: Any, _context: Any) -> Any:
        request.update_mask.MergeMessage(request.policy, self.policy, replace_message_field=True)
        return tenant_policies_pb2.UpdateTenantPolicyResponse(policy=self.policy)
