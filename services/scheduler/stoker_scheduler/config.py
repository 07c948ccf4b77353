"""What the scheduler can be told, each by an environment variable `STOKER_SCHEDULER_…`."""

from pydantic import Field, NonNegativeInt, PositiveFloat
from pydantic_settings import SettingsConfigDict
from stoker_service.config import ServiceSettings


class SchedulerSettings(ServiceSettings):
    """The scheduler's settings."""

    model_config = SettingsConfigDict(env_prefix="STOKER_SCHEDULER_", frozen=True, extra="ignore")

    listen_address: str = Field(
        default="127.0.0.1:7401", description="Where frontends and host agents call, `address:port`."
    )
    lease_ttl_s: float = Field(
        default=30.0, gt=0, le=3600, description="How long a lease holds without being renewed, in seconds."
    )
    recovery_s: float = Field(
        default=10.0,
        ge=0,
        le=600,
        description="How long after its start the scheduler waits for hosts to come back, in seconds: until then it "
        "calls no lease ended that it does not know, and no demand too large.",
    )
    max_waiting: int = Field(default=2000, ge=1, description="How many demands may wait for capacity at once.")
    max_waiting_per_tenant: int = Field(default=1000, ge=1, description="How many of them may be one tenant's.")
    max_wait_s: float = Field(
        default=900.0, gt=0, description="How long a demand without a deadline waits at the most, in seconds."
    )
    max_attempts: int = Field(
        default=3, ge=1, le=100, description="How often hosts may fail to give a demand a container."
    )
    vm_vcpus: int = Field(default=1, ge=1, le=64, description="Virtual processors of a VM.")
    vm_memory_mib: int = Field(
        default=512,
        ge=128,
        le=262_144,
        description="Memory of a VM in MiB; one for a larger container has the least power-of-two multiple.",
    )
    vm_reserve_mib: int = Field(
        default=160,
        ge=0,
        description="What of its memory a VM is thought to keep from containers, in MiB, until one has told.",
    )
    warming_vms: int = Field(
        default=1, ge=0, le=1000, description="How many VMs without a tenant each host keeps, as far as it has room."
    )
    max_creating_vms: int = Field(
        default=1, ge=1, le=100, description="How many VMs a host creates at once before the warming pool adds one."
    )
    warming_vms_most: int = Field(
        default=8,
        ge=0,
        le=1000,
        description="How many VMs without a tenant a host keeps at the most, where demand wants more than "
        "`warming_vms`.",
    )
    warming_probability: float = Field(
        default=0.995,
        gt=0,
        lt=1,
        description="With which probability a demand that needs a VM is to find one that waits, as far as "
        "`warming_vms_most` lets it.",
    )
    warming_creations: int = Field(
        default=50, ge=1, description="How many VMs are begun for the warming pool in one interval of upkeep, in all."
    )
    containers_per_vcpu: int = Field(
        default=16,
        ge=1,
        le=1000,
        description="How many containers a VM takes for each of its virtual processors, however small they are.",
    )
    overtaken_s: float = Field(
        default=30.0,
        ge=0,
        description="For how long a demand that finds no room lets later ones of its tenant have room, in seconds.",
    )
    tenant_weights: dict[str, PositiveFloat] = Field(
        default={},
        description="What tenants get in proportion to each other while they wait, 1 for one that is not named; "
        'as JSON: {"acme": 2}.',
    )
    tenant_invocations: int = Field(
        default=1000, ge=1, description="How many invocations a tenant may run at once, those that wait included."
    )
    tenant_invocations_of: dict[str, NonNegativeInt] = Field(
        default={}, description='The same for tenants that have their own limit; as JSON: {"acme": 5000}.'
    )
    codestore_address: str = Field(
        default="127.0.0.1:7402",
        description="The codestore, which tells what is set for functions, a gRPC target; empty for none.",
    )
    container_idle_s: float = Field(
        default=300.0,
        gt=0,
        description="How long an idle container is kept while its function's idle times say nothing, in seconds.",
    )
    container_idle_least_s: float = Field(
        default=60.0, gt=0, description="How long it is kept at the least, in seconds; no longer than the above."
    )
    container_idle_most_s: float = Field(
        default=3600.0,
        gt=0,
        le=14_400,
        description="How long it is kept at the most, in seconds, where that is longer than the above.",
    )
    vm_idle_s: float = Field(
        default=60.0, gt=0, description="How long a tenant's VM without containers is kept, in seconds."
    )
    upkeep_interval_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="How often leases, what nobody uses and the warming pool are looked at, in seconds.",
    )
    vm_timeout_s: float = Field(
        default=120.0, gt=0, le=3600, description="How long a host may take to make or destroy a VM, in seconds."
    )
    container_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="How long a host may take to make a container and load the code, or to destroy it, in seconds.",
    )
    command_timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="How long a host may take for any other command, in seconds."
    )
