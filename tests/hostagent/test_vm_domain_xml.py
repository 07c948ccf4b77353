"""Domains are described by an XML library, and say of themselves what a later host agent has to know."""

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from stoker_hostagent import domain_metadata, domain_xml
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import MetadataInvalid, VmRecord
from stoker_hostagent.domain_xml import Devices
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.vm import VM_ID, Shape, VmState

TCG = Accelerator("qemu", "for tests")
IMAGE = GuestImage("0123456789abcdef", Path("/images/0123456789abcdef"), 'console=ttyS0 x="<&>"', ("python3",))
DEVICES = Devices(Path("/state/channels/vm-0123456789ab.sock"), Path("/state/consoles/vm-0123456789ab.log"))
DOMAIN_UUID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
RECORD = VmRecord("host-1", "vm-0123456789ab", Shape(2, 512), VmState.CREATING, "", IMAGE.id, 1_700_000_000)

# What XML 1.0 can hold; a tab or newline in an attribute counts as white space for other readers than lxml and libvirt.
texts = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"))
records = st.builds(
    VmRecord,
    host_id=texts,
    vm_id=texts,
    shape=st.builds(Shape, st.integers(1, 64), st.integers(128, 262_144)),
    state=st.sampled_from(VmState),
    tenant=texts,
    image_id=texts,
    created_unix_s=st.integers(0, 2**40),
    is_clone=st.booleans(),
)


@given(records)
def test_a_record_survives_the_way_through_xml_whatever_its_texts(record: VmRecord) -> None:
    assert domain_metadata.from_xml(domain_metadata.to_xml(record)) == record


@given(records)
def test_a_record_survives_as_part_of_a_domain(record: VmRecord) -> None:
    root = etree.fromstring(domain_xml.domain(record, DOMAIN_UUID, IMAGE, TCG, DEVICES))
    (element,) = root.findall("metadata/*")
    assert domain_metadata.from_xml(etree.tostring(element, encoding="unicode")) == record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<vm/>",
        "no XML",
        domain_metadata.to_xml(RECORD).replace("creating", "sleeping"),
        domain_metadata.to_xml(RECORD).replace('vcpus="2"', 'vcpus="two"'),
    ],
)
def test_what_no_host_agent_wrote_is_told_apart(text: str) -> None:
    with pytest.raises(MetadataInvalid):
        domain_metadata.from_xml(text)


def test_entities_in_metadata_are_not_expanded() -> None:
    bomb = '<!DOCTYPE vm [<!ENTITY e SYSTEM "file:///etc/passwd">]><vm host="h">&e;</vm>'
    with pytest.raises(MetadataInvalid):
        domain_metadata.from_xml(bomb)


@given(st.from_regex("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True), st.from_regex(VM_ID, fullmatch=True))
def test_a_vm_is_known_by_its_domains_name(host_id: str, vm_id: str) -> None:
    name = domain_xml.domain_name(host_id, vm_id)
    assert domain_xml.vm_of_domain(host_id, name) == vm_id
    assert domain_xml.vm_of_domain(f"{host_id}-2", name) is None
    assert domain_xml.vm_of_domain(host_id, domain_xml.domain_name(f"{host_id}-2", vm_id)) is None


def test_a_vm_has_no_network_and_a_root_disk_that_it_cannot_write_to() -> None:
    root = etree.fromstring(domain_xml.domain(RECORD, DOMAIN_UUID, IMAGE, TCG, DEVICES))
    assert root.find("devices/interface") is None
    assert root.find("devices/graphics") is None
    assert root.find("devices/disk/readonly") is not None
    assert root.find("devices/filesystem") is None


def test_a_vm_that_stops_for_any_reason_is_gone() -> None:
    root = etree.fromstring(domain_xml.domain(RECORD, DOMAIN_UUID, IMAGE, TCG, DEVICES))
    assert [root.findtext(event) for event in ("on_poweroff", "on_reboot", "on_crash")] == ["destroy"] * 3


def test_kvm_guests_get_the_hosts_cpu_without_what_does_not_work() -> None:
    kvm = Accelerator("kvm", "for tests", ("arch-capabilities",))
    root = etree.fromstring(domain_xml.domain(RECORD, DOMAIN_UUID, IMAGE, kvm, DEVICES))
    assert root.get("type") == "kvm"
    assert etree.tostring(root.findall("cpu")[0]) == (
        b'<cpu mode="host-passthrough"><feature policy="disable" name="arch-capabilities"/></cpu>'
    )
