"""Values that the scheduler's tests are made of."""

from itertools import count

from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.v1 import versions_pb2
from stoker_scheduler.fleet import Fleet
from stoker_scheduler.machines import Blanks, Container, ContainerState, Demand, Host, Shape, Version, Vm, VmState

SHAPE = Shape(1, 512)
RESERVE_MIB = 112
VM_MIB = SHAPE.memory_mib - RESERVE_MIB
"""What of a VM's memory containers may use: 400 MiB."""


PYTHON, NODEJS = versions_pb2.RUNTIME_PYTHON3, versions_pb2.RUNTIME_NODEJS


def a_version(
    uid: str = "v1", tenant: str = "acme", memory_mib: int = 128, artifact: str = "a", runtime: int = PYTHON
) -> Version:
    return Version(uid, tenant, f"function-{uid}", 1, artifact * 64, memory_mib, runtime=runtime)


def a_demand(uid: str = "v1", tenant: str = "acme", memory_mib: int = 128, artifact: str = "a") -> Demand:
    return Demand(a_version(uid, tenant, memory_mib, artifact), "frontend-1")


def a_fleet(*host_mib: int) -> Fleet:
    """A fleet of hosts h1, h2, … of these sizes."""
    fleet = Fleet(SHAPE, RESERVE_MIB)
    for number, memory_mib in enumerate(host_mib, start=1):
        fleet.add_host(Host(f"h{number}", f"127.0.0.1:{number}", memory_mib))
    return fleet


def put_vm(
    fleet: Fleet,
    vm: str,
    host: str = "h1",
    *,
    tenant: str = "",
    state: VmState | None = None,
    shape: Shape = SHAPE,
    blanks: Blanks = (),
) -> None:
    """Adds a VM: active where it has a tenant, else warming."""
    state = state or (VmState.ACTIVE if tenant else VmState.WARMING)
    fleet.put_vm(Vm(vm, host, shape, state, shape.memory_mib - RESERVE_MIB, tenant, blanks=blanks))


def put_container(
    fleet: Fleet, container: str, vm: str, version: Version, state: ContainerState, since_s: float = 0.0
) -> None:
    fleet.put_container(Container(container, vm, version, state, since_s))


_numbers = count(1)


def a_spec(
    function: str = "hello",
    *,
    tenant: str = "acme",
    memory_mib: int = 128,
    uid: str = "",
    number: int = 1,
    concurrency: int = 1,
) -> codestore_pb2.VersionSpec:
    """A version's message; another version at each call, unless it is given its uid."""
    return codestore_pb2.VersionSpec(
        uid=uid or f"uid-{next(_numbers)}",
        tenant=tenant,
        function=function,
        number=number,
        concurrency=concurrency,
        artifact_sha256="a" * 64,
        artifact_size_bytes=100,
        runtime=versions_pb2.RUNTIME_PYTHON3,
        handler="main.handler",
        memory_mib=memory_mib,
        timeout_s=10,
        tmp_mib=16,
    )
