"""What it means for a VM that a domain of its name has ended, however late that is heard."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.footprints import Footprints, Removed
from stoker_hostagent.libvirt_connection import LibvirtConnection
from stoker_hostagent.libvirt_domains import LibvirtDomains
from stoker_hostagent.state_dir import Places
from stoker_hostagent.template_store import Template, TemplateStore
from stoker_hostagent.virtual_machine import VirtualMachine
from stoker_hostagent.vm import Shape, VmState
from stoker_hostagent.vm_domain import Ended, VmDomain

from tests.hostagent.saved_templates import save
from tests.system.vm_host import Events

ANY = str(uuid.UUID(int=1))
SHAPE = Shape(1, 512)
RECORD = VmRecord("host-1", "vm-0123456789ab", SHAPE, VmState.CREATING, "", "image-a", 0)


def test_the_end_of_the_domain_is_the_end_of_the_vm() -> None:
    domain = VmDomain()
    booted = domain.begin(is_on_trial=False)
    assert domain.ended(str(booted)) is Ended.VM


def test_a_vm_that_was_taken_over_ends_with_whatever_domain_has_its_name() -> None:
    assert VmDomain().ended(ANY) is Ended.VM


def test_a_clone_on_trial_may_end_without_the_vm_and_later_not() -> None:
    domain = VmDomain()
    clone = domain.begin(is_on_trial=True)
    assert domain.ended(str(clone)) is Ended.ATTEMPT
    domain.accept()
    assert domain.ended(str(clone)) is Ended.VM


def test_a_failed_clones_end_is_heard_before_the_vm_is_booted_and_means_nothing() -> None:
    domain = VmDomain()
    clone = domain.begin(is_on_trial=True)
    domain.give_up()
    assert domain.ended(str(clone)) is Ended.NOTHING


@given(st.data())
def test_the_end_of_an_earlier_domain_means_nothing_whenever_it_is_heard(data: st.DataObject) -> None:
    domain = VmDomain()
    earlier: list[uuid.UUID] = []
    for _ in range(data.draw(st.integers(1, 4), "clones")):
        earlier.append(domain.begin(is_on_trial=True))
        unheard = data.draw(st.sets(st.sampled_from(earlier[:-1] or [uuid.uuid4()])), "heard during the trial")
        assert {domain.ended(str(each)) for each in unheard} <= {Ended.NOTHING}
        domain.give_up()
        assert {domain.ended(str(each)) for each in earlier} == {Ended.NOTHING}
    booted = domain.begin(is_on_trial=False)
    assert {domain.ended(str(each)) for each in earlier} == {Ended.NOTHING}
    assert domain.ended(str(booted)) is Ended.VM


class SilentClones(Footprints):
    """Clones whose guests never answer; that their domains have ended is told while they are being removed."""

    def __init__(self, state_dir: Path) -> None:
        places = Places(state_dir)
        super().__init__(RECORD.host_id, places, LibvirtDomains(LibvirtConnection("test:///default")))
        self.domain_uuid = uuid.UUID(int=0)
        self.tell: Callable[[str], None] = lambda _: None

    async def clone(self, record: VmRecord, domain_uuid: uuid.UUID, template: Template) -> None:
        self.domain_uuid = domain_uuid

    async def remove(self, vm_id: str) -> Removed:
        self.tell(str(self.domain_uuid))
        return Removed(domains=1)


async def test_a_vm_outlives_the_clone_that_it_could_not_become(tmp_path: Path) -> None:
    footprints = SilentClones(tmp_path)
    machine = VirtualMachine(RECORD, footprints, 30, Events())
    heard: list[bool] = []
    footprints.tell = lambda domain_uuid: heard.append(machine.domain_stopped(domain_uuid))
    store = TemplateStore(tmp_path / "templates", 1 << 30)
    store.open()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await machine.clone(save(store, "0123456789abcdef", SHAPE), lambda: None)
    await machine.start_over()
    footprints.tell(str(footprints.domain_uuid))
    assert heard == [False, False]
    assert machine.state is VmState.CREATING
