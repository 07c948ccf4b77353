"""A VM as libvirt's domain XML. Pure: values in, text out.

The devices are the fewest that a guest needs: a root disk, a port to the host agent, a console, a source of randomness.
There is no network. Shares come when the VM gets its tenant, since before that there is nothing to share.

A VM that is saved can go on as another: its XML is kept with its memory, and only what names the VM is changed in it.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from stoker_hostagent import domain_metadata
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import Element, VmRecord
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.vm import VM_ID

GUEST_PORT = "dev.stoker.guest.0"
"""The name in the guest of the virtio-serial port to the guest agent."""

CONTAINER_PORTS = 12
"""How many ports a VM has for its containers, which may have one each. The guest's kernel sets half a MiB apart for
each; containers without one are reached by the guest agent, which takes longer."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Where on the host a VM's devices end."""

    channel: Path
    """The UNIX socket that QEMU listens on for the guest's port."""
    console: Path
    """The file that the guest's console is written to."""

    @property
    def container_ports(self) -> list[Path]:
        """The UNIX sockets that QEMU listens on for the containers' own ports, in the order of their numbers."""
        return [self.channel.with_suffix(f".p{number}") for number in range(1, CONTAINER_PORTS + 1)]

    @property
    def sockets(self) -> dict[str, Path]:
        """All sockets of the VM's ports, by the names that these have in the guest."""
        ports = {container_port(number): path for number, path in enumerate(self.container_ports, 1)}
        return {GUEST_PORT: self.channel, **ports}


def container_port(number: int) -> str:
    """The name in the guest of a port for a container."""
    return f"dev.stoker.container.{number}"


def domain_name(host_id: str, vm_id: str) -> str:
    """What libvirt calls a VM."""
    return f"stoker-{host_id}-{vm_id}"


def vm_of_domain(host_id: str, name: str) -> str | None:
    """The id of the VM that is the domain of that name; None where it is no VM of this host agent."""
    prefix = f"stoker-{host_id}-"
    vm_id = name.removeprefix(prefix)
    return vm_id if name.startswith(prefix) and VM_ID.fullmatch(vm_id) else None


class NotOurs(Exception):
    """An XML does not describe a domain that was made here."""


def domain(
    record: VmRecord, domain_uuid: uuid.UUID, image: GuestImage, accelerator: Accelerator, devices: Devices
) -> str:
    """The XML of a transient domain that boots `image`.

    Raises:
        ValueError: A text holds what XML cannot, such as control characters.
    """
    root = etree.Element("domain", type=accelerator.kind)
    _add(root, "name", text=domain_name(record.host_id, record.vm_id))
    _add(root, "uuid", text=str(domain_uuid))
    _add(root, "metadata").append(domain_metadata.to_element(record))
    _add(root, "memory", text=str(record.shape.memory_mib), unit="MiB")
    # virtiofs has the daemon read and write the guest's memory.
    backing = _add(root, "memoryBacking")
    _add(backing, "source", type="memfd")
    _add(backing, "access", mode="shared")
    _add(root, "vcpu", text=str(record.shape.vcpus))
    boot = _add(root, "os")
    _add(boot, "type", text="hvm", arch="x86_64", machine="pc")
    _add(boot, "kernel", text=str(image.kernel))
    _add(boot, "initrd", text=str(image.initrd))
    _add(boot, "cmdline", text=image.kernel_cmdline)
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    _add_cpu(root, accelerator)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _add(root, event, text="destroy")
    _add_devices(_add(root, "devices"), image, devices)
    # The image belongs to root and is shared by all VMs, so libvirt must not give it to the user QEMU runs as.
    _add(root, "seclabel", type="none", model="dac")
    return etree.tostring(root, encoding="unicode")


def clone(saved_xml: str, record: VmRecord, domain_uuid: uuid.UUID, devices: Devices) -> str:
    """The XML of a saved domain, changed to that of another VM with the same machine.

    Raises:
        NotOurs: It lacks what every VM's has.
        ValueError: A text holds what XML cannot, such as control characters.
    """
    try:
        root = etree.fromstring(saved_xml, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise NotOurs(str(error)) from error
    _only(root, "name").text = domain_name(record.host_id, record.vm_id)
    _only(root, "uuid").text = str(domain_uuid)
    metadata = _only(root, "metadata")
    metadata[:] = [domain_metadata.to_element(record)]
    for name, path in devices.sockets.items():
        channel = _only(root, f"devices/channel/target[@name='{name}']/..")
        _only(channel, "source").set("path", str(path))
    _only(root, "devices/serial/source").set("path", str(devices.console))
    # libvirt lists the serial port once more, as the console.
    for console in root.findall("devices/console/source"):
        console.set("path", str(devices.console))
    return etree.tostring(root, encoding="unicode")


def share(directory: Path, tag: str) -> str:
    """The XML of a virtiofs share, to be attached to a running domain.

    virtiofsd's own caching (`auto`) is kept: with `always` a guest would hold on to code that the host has removed.
    """
    root = etree.Element("filesystem", type="mount", accessmode="passthrough")
    _add(root, "driver", type="virtiofs")
    _add(root, "source", dir=str(directory))
    _add(root, "target", dir=tag)
    return etree.tostring(root, encoding="unicode")


def _only(root: Element, path: str) -> Element:
    found = root.findall(path)
    if len(found) != 1:
        raise NotOurs(f"there are {len(found)} of `{path}`")
    return found[0]


def _add_cpu(root: Element, accelerator: Accelerator) -> None:
    if accelerator.kind != "kvm":
        _add(root, "cpu", mode="maximum")
        return
    cpu = _add(root, "cpu", mode="host-passthrough")
    for feature in accelerator.disabled_cpu_features:
        _add(cpu, "feature", policy="disable", name=feature)


def _add_devices(parent: Element, image: GuestImage, devices: Devices) -> None:
    disk = _add(parent, "disk", type="file", device="disk")
    _add(disk, "driver", name="qemu", type="raw")
    _add(disk, "source", file=str(image.root))
    _add(disk, "target", dev="vda", bus="virtio")
    _add(disk, "readonly")
    for name, path in devices.sockets.items():
        channel = _add(parent, "channel", type="unix")
        _add(channel, "source", mode="bind", path=str(path))
        _add(channel, "target", type="virtio", name=name)
    console = _add(parent, "serial", type="file")
    # Written through virtlogd, which bounds its size.
    _add(console, "source", path=str(devices.console), append="off")
    randomness = _add(parent, "rng", model="virtio")
    _add(randomness, "backend", text="/dev/urandom", model="random")
    _add(parent, "controller", type="usb", model="none")
    _add(parent, "memballoon", model="none")


def _add(parent: Element, tag: str, *, text: str | None = None, **attributes: str) -> Element:
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element
