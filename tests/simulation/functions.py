"""Functions that are invoked in the simulation, and one invocation of such a function."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from stoker_frontend.routes import Version
from stoker_protos.codestore.v1 import codestore_pb2
from stoker_protos.v1 import versions_pb2

Runtime = versions_pb2.Runtime


@dataclass(frozen=True)
class Function:
    """A function of a tenant, in its only version."""

    tenant: str
    name: str
    memory_mib: int = 128
    runtime: Runtime.ValueType = versions_pb2.RUNTIME_PYTHON3
    timeout_s: int = 300
    concurrency: int = 1
    """How many calls one of its containers runs at once."""

    @property
    def uid(self) -> str:
        """The uid of its version."""
        return f"{self.tenant}/{self.name}"

    @cached_property
    def spec(self) -> codestore_pb2.VersionSpec:
        """Its version, as services tell each other."""
        return codestore_pb2.VersionSpec(
            uid=self.uid,
            tenant=self.tenant,
            function=self.name,
            number=1,
            artifact_sha256=sha256(self.uid.encode()).hexdigest(),
            artifact_size_bytes=10_000,
            runtime=self.runtime,
            handler="main.handler",
            memory_mib=self.memory_mib,
            timeout_s=self.timeout_s,
            tmp_mib=16,
            concurrency=self.concurrency,
        )

    @cached_property
    def version(self) -> Version:
        """Its version, as frontends know it."""
        return Version(self.uid, 1, self.timeout_s, self.spec.SerializeToString(), self.concurrency)


@dataclass(slots=True, eq=False)
class Call:
    """One invocation, from its arrival on."""

    number: int
    function: Function
    arrived_s: float
    deadline_s: float
    """When its caller stops waiting for a container."""
    run_s: float
    """How long it runs in its container, in seconds."""
    attempts: int = 0
    is_running: bool = False
