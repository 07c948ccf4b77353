"""What holds at every step of a simulation, whatever goes wrong, and what is left when all is quiet."""

import asyncio

from stoker_protos.scheduler.v1 import hosts_pb2

from tests.simulation.world import World

GRACE_S = 0.001
"""By how much a caller may be told late that its deadline has come, in seconds of virtual time."""
SHORT_LIVED = ("demand", "prepare", "destroy", "unlease", "acquire", "call")
"""How the names of tasks begin that end by themselves."""


class Invariants:
    """Looks at a world after each step. What hosts are told is judged by the hosts themselves, as it comes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self.steps = 0

    def step(self) -> None:
        """Nothing is overcommitted, no VM has two tenants, and nobody waits beyond the deadline."""
        self.steps += 1
        fleet = self._world.core.fleet
        for vm in fleet.vms:
            assert fleet.vm_free_mib(vm.id) >= 0, f"{vm} is promised more than it has"
            for container in fleet.containers_in(vm.id):
                assert container.version.tenant == vm.tenant, f"{container} is in {vm}"
        for host in fleet.hosts:
            assert fleet.host_free_mib(host.id) >= 0, f"{host} is promised more than it has"
        for host in self._world.hosts.values():
            assert host.inventory.free_mib >= 0, f"{host.id} holds more than it can"
            for vm in host.inventory.vms.values():
                tenants = {box.spec.tenant for box in vm.containers.values()}
                assert tenants <= {vm.tenant}, f"{vm} has containers of {tenants}"
        now_s = self._loop.time()
        for call in self._world.measures.open_calls:
            assert call.is_running or now_s <= call.deadline_s + GRACE_S, f"{call} was forgotten"

    def quiet(self) -> None:
        """Nothing is left but the warming pool, and the scheduler has hosts just as they are."""
        core = self._world.core
        assert not self._world.measures.open_calls
        assert not len(core.dispatcher.waiting)
        assert not core.fleet.containers, "containers are kept for nobody"
        for host in self._world.hosts.values():
            assert host.is_connected
            assert not host.inventory.containers, f"{host.id} has containers that nobody knows"
            assert {vm.id for vm in core.fleet.vms_on(host.id)} == host.inventory.vms.keys()
            for vm in host.inventory.vms.values():
                assert (vm.tenant, vm.state) == ("", hosts_pb2.VM_STATE_WARMING), f"{vm} is kept for nobody"
        left = [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith(SHORT_LIVED)]
        assert not left, f"tasks that never end: {left}"
