"""What a domain says of itself, for the host agent that comes after: kept by libvirt in the domain's `<metadata>`.

libvirt keeps it with the running domain, so that what a VM is and whose it is cannot come apart from the VM.
"""

from dataclasses import dataclass
from typing import TypeAlias

from lxml import etree

from stoker_hostagent.vm import Shape, VmState

NAMESPACE = "https://stoker.dev/xmlns/vm/1"
PREFIX = "stoker"

Element: TypeAlias = "etree._Element"  # pyright: ignore[reportPrivateUsage] - lxml has no other name for its elements


class MetadataInvalid(Exception):
    """What a domain carries in Stoker's namespace was not written by a host agent."""


@dataclass(frozen=True, slots=True)
class VmRecord:
    """What is kept of a VM with its domain."""

    host_id: str
    """The host agent it belongs to."""
    vm_id: str
    shape: Shape
    state: VmState
    tenant: str
    """Empty for none."""
    image_id: str
    """The guest image that it was booted from."""
    created_unix_s: int
    is_clone: bool = False
    """Whether it is a clone of a template; it was booted otherwise."""


def to_element(record: VmRecord) -> Element:
    """A record as an element in Stoker's namespace, as it stands in a domain's XML.

    Raises:
        ValueError: A text holds what XML cannot, such as control characters.
    """
    return _fill(etree.Element(f"{{{NAMESPACE}}}vm", nsmap={PREFIX: NAMESPACE}), record)


def to_xml(record: VmRecord) -> str:
    """A record as the text that libvirt's setMetadata takes, which adds the namespace by itself.

    Raises:
        ValueError: A text holds what XML cannot, such as control characters.
    """
    return etree.tostring(_fill(etree.Element("vm"), record), encoding="unicode")


def from_xml(text: str) -> VmRecord:
    """The record in a text, which libvirt gives back with or without the namespace.

    Raises:
        MetadataInvalid: There is none.
    """
    try:
        element = etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))
        return VmRecord(
            host_id=_attribute(element, "host"),
            vm_id=_attribute(element, "id"),
            shape=Shape(int(_attribute(element, "vcpus")), int(_attribute(element, "memory-mib"))),
            state=VmState(_attribute(element, "state")),
            tenant=_attribute(element, "tenant"),
            image_id=_attribute(element, "image"),
            created_unix_s=int(_attribute(element, "created")),
            is_clone=element.get("clone") == "yes",
        )
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MetadataInvalid(str(error)) from error


def _fill(element: Element, record: VmRecord) -> Element:
    for name, value in (
        ("host", record.host_id),
        ("id", record.vm_id),
        ("vcpus", str(record.shape.vcpus)),
        ("memory-mib", str(record.shape.memory_mib)),
        ("state", record.state.value),
        ("tenant", record.tenant),
        ("image", record.image_id),
        ("created", str(record.created_unix_s)),
        ("clone", "yes" if record.is_clone else "no"),
    ):
        element.set(name, value)
    return element


def _attribute(element: Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise MetadataInvalid(f"there is no attribute `{name}`")
    return value
