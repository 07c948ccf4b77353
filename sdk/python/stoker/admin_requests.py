"""Every call of the operators' API, as a value."""

from stoker_protos.admin.v1 import fleet_pb2, tenants_pb2

from stoker import wire
from stoker.calls import Listing, Page, Unary, UnaryOf
from stoker.models import Fleet, NewTenant, Tenant
from stoker.names import check_name
from stoker.retries import Retry


def create_tenant(tenant: str) -> UnaryOf[NewTenant]:
    """Makes a tenant and its first key."""
    return Unary(
        lambda stubs: stubs.tenants.CreateTenant,
        tenants_pb2.CreateTenantRequest(tenant_id=check_name(tenant, "tenant")),
        lambda response: NewTenant(wire.tenant_of(response.tenant), response.api_key),
        is_admin=True,
    )


def list_tenants() -> Listing[Tenant]:
    """Lists all tenants by name."""
    return Listing(
        lambda token: Unary(
            lambda stubs: stubs.tenants.ListTenants,
            tenants_pb2.ListTenantsRequest(page_token=token),
            lambda response: Page([wire.tenant_of(each) for each in response.tenants], response.next_page_token),
            Retry.WHEN_UNAVAILABLE,
            is_admin=True,
        )
    )


def create_api_key(tenant: str) -> UnaryOf[str]:
    """Makes one more key for a tenant."""
    return Unary(
        lambda stubs: stubs.tenants.CreateApiKey,
        tenants_pb2.CreateApiKeyRequest(tenant_id=check_name(tenant, "tenant")),
        lambda response: response.api_key,
        is_admin=True,
    )


def revoke_api_key(key_id: str) -> UnaryOf[None]:
    """Ends a key at once."""
    return Unary(
        lambda stubs: stubs.tenants.RevokeApiKey,
        tenants_pb2.RevokeApiKeyRequest(key_id=key_id),
        lambda _: None,
        Retry.WHEN_UNAVAILABLE,
        is_admin=True,
    )


def get_fleet() -> UnaryOf[Fleet]:
    """Returns all hosts, VMs and containers of one moment."""
    return Unary(
        lambda stubs: stubs.fleet.GetFleet,
        fleet_pb2.GetFleetRequest(),
        wire.fleet_of,
        Retry.WHEN_UNAVAILABLE,
        is_admin=True,
    )
