"""What libvirt and QEMU have saved: headers are rewritten, pages of zeros left out, and nonsense is refused."""

import io
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from stoker_hostagent import domain_metadata, domain_xml
from stoker_hostagent.accelerator import Accelerator
from stoker_hostagent.domain_metadata import VmRecord
from stoker_hostagent.domain_xml import Devices, NotOurs
from stoker_hostagent.guest_image import GuestImage
from stoker_hostagent.migration_stream import (
    END,
    FILLED,
    FOOTER,
    GUEST_MEMORY,
    MAGIC,
    PAGE,
    PAGE_BYTES,
    SAME_BLOCK,
    SECTION_END,
    SECTION_PART,
    SECTION_START,
    SIZES,
    StreamUnknown,
    without_zero_pages,
)
from stoker_hostagent.save_image import DoesNotFit, SaveHeader, SaveImageInvalid, read_header
from stoker_hostagent.vm import VM_ID, Shape, VmState

ROOM_BYTES = 8192
IMAGE = GuestImage("0123456789abcdef", Path("/images/0123456789abcdef"), "console=ttyS0", ("python3",))
RECORD = VmRecord("host-1", "vm-0123456789ab", Shape(2, 512), VmState.CREATING, "", IMAGE.id, 1_700_000_000)
DEVICES = Devices(Path("/state/channels/vm-0123456789ab.sock"), Path("/state/consoles/vm-0123456789ab.log"))
SAVED_XML = domain_xml.domain(RECORD, uuid.UUID(int=1), IMAGE, Accelerator("qemu", "for tests"), DEVICES)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=1000)
vm_ids = st.from_regex(VM_ID, fullmatch=True)
host_ids = st.from_regex("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
paths = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=70).map(
    lambda text: Path("/state", text.lstrip("/") or "channel")
)


@given(texts, texts, texts, st.booleans(), st.integers(0, 4))
def test_any_xml_that_fits_takes_the_place_of_another_and_nothing_else_moves(
    xml: str, cookie: str, other: str, was_running: bool, compression: int
) -> None:
    header = SaveHeader(xml, cookie, ROOM_BYTES, was_running, compression)
    file = io.BytesIO(header.with_xml(other).to_bytes() + b"stream")
    read = read_header(file)
    assert read == SaveHeader(other, cookie, ROOM_BYTES, was_running, compression)
    assert file.read() == b"stream"
    assert read.stream_offset == header.stream_offset == len(header.to_bytes())


@given(texts.filter(bool), st.integers(1, 100))
def test_xml_that_does_not_fit_is_refused(cookie: str, excess: int) -> None:
    room = len(cookie.encode()) + 1 + 101
    header = SaveHeader("x" * 100, cookie, room, was_running=True, compression=0)
    assert len(header.to_bytes()) == header.stream_offset
    with pytest.raises(DoesNotFit):
        header.with_xml("x" * (100 + excess))


@given(st.integers(0, ROOM_BYTES))
def test_a_header_that_is_cut_off_is_refused(length: int) -> None:
    whole = SaveHeader("<domain/>", "<cookie/>", ROOM_BYTES, was_running=True, compression=0).to_bytes()
    with pytest.raises(SaveImageInvalid):
        read_header(io.BytesIO(whole[:length]))


@pytest.mark.parametrize(
    ("at", "changed"),
    [
        (0, b"LibvirtQemudPart"),
        (0, b"SomethingElse..."),
        (16, struct.pack("=I", 3)),
        (20, struct.pack("=I", 1 << 31)),
        (32, struct.pack("=I", ROOM_BYTES + 1)),
        (92, b"\xff"),
    ],
)
def test_a_header_of_another_kind_is_refused(at: int, changed: bytes) -> None:
    whole = bytearray(SaveHeader("<domain/>", "", ROOM_BYTES, was_running=True, compression=0).to_bytes())
    whole[at : at + len(changed)] = changed
    with pytest.raises(SaveImageInvalid):
        read_header(io.BytesIO(whole))


@given(host_ids, vm_ids, st.uuids(), paths, paths)
def test_a_clone_has_the_machine_of_its_template_and_names_of_its_own(
    host_id: str, vm_id: str, domain_uuid: uuid.UUID, channel: Path, console: Path
) -> None:
    record = VmRecord(host_id, vm_id, RECORD.shape, VmState.CREATING, "", IMAGE.id, 1_800_000_000, is_clone=True)
    devices = Devices(channel, console)
    root = etree.fromstring(domain_xml.clone(SAVED_XML, record, domain_uuid, devices))
    assert root.findtext("name") == domain_xml.domain_name(host_id, vm_id)
    assert root.findtext("uuid") == str(domain_uuid)
    (metadata,) = root.findall("metadata/*")
    assert domain_metadata.from_xml(etree.tostring(metadata, encoding="unicode")) == record
    named = etree.fromstring(SAVED_XML)
    for path, ends in (("devices/channel/source", devices.sockets.values()), ("devices/serial/source", [console])):
        assert [source.attrib.pop("path") for source in root.findall(path)] == [str(end) for end in ends]
        for source in named.findall(path):
            del source.attrib["path"]
    for tree in (root, named):
        for path in ("name", "uuid", "metadata"):
            (element,) = tree.findall(path)
            tree.remove(element)
    assert etree.tostring(root) == etree.tostring(named)


@pytest.mark.parametrize("xml", ["", "no XML", "<domain/>", SAVED_XML.replace("channel", "other"), SAVED_XML + "<x/>"])
def test_xml_that_was_not_made_here_is_refused(xml: str) -> None:
    with pytest.raises(NotOurs):
        domain_xml.clone(xml, RECORD, uuid.UUID(int=2), DEVICES)


# A stream as QEMU writes it: for each section of the memory entries of (block, page, what it holds).
PAGES = 8
BLOCKS = {GUEST_MEMORY: PAGES, b"pc.bios": 4}
ZERO, FILL, TEXT = 0, 1, 2
HELD = {ZERO: bytes(PAGE_BYTES), FILL: b"\1" * PAGE_BYTES, TEXT: b"stoker".ljust(PAGE_BYTES, b".")}
entries = st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(0, 3), st.sampled_from(sorted(HELD)))
sections = st.lists(st.lists(entries, max_size=12), min_size=1, max_size=4)
DEVICES_STATE = b"\4devices of any kind"


def section(kind: int, content: bytes) -> bytes:
    return struct.pack(">BI", kind, 3) + content + struct.pack(">QBI", END, FOOTER, 3)


def stream_of(parts: list[list[tuple[bytes, int, int]]]) -> bytes:
    sizes = b"".join(
        bytes((len(name),)) + name + struct.pack(">Q", pages * PAGE_BYTES) for name, pages in BLOCKS.items()
    )
    whole = MAGIC + b"\7\0\0\0\4pc-7" + struct.pack(">BI", SECTION_START, 3) + b"\3ram" + struct.pack(">II", 0, 4)
    total = sum(BLOCKS.values()) * PAGE_BYTES
    whole += struct.pack(">Q", total | SIZES) + sizes + struct.pack(">QBI", END, FOOTER, 3)
    last = b""
    for number, part in enumerate(parts, start=1):
        content = b""
        for block, page, held in part:
            is_filled = held != TEXT
            flags = (FILLED if is_filled else PAGE) | (SAME_BLOCK if block == last else 0)
            content += struct.pack(">Q", page * PAGE_BYTES | flags)
            content += b"" if block == last else bytes((len(block),)) + block
            content += HELD[held][:1] if is_filled else HELD[held]
            last = block
        whole += section(SECTION_END if number == len(parts) else SECTION_PART, content)
    return whole + DEVICES_STATE


def loaded(stream: bytes) -> tuple[dict[tuple[bytes, int], bytes], int]:
    """The memory of a new machine that has read a stream, and how many entries that took."""
    memory = {(block, page): bytes(PAGE_BYTES) for block, pages in BLOCKS.items() for page in range(pages)}
    # Firmware is there before the stream is read.
    memory |= {(b"pc.bios", page): b"f" * PAGE_BYTES for page in range(BLOCKS[b"pc.bios"])}
    at = stream.index(struct.pack(">BI", FOOTER, 3)) + 5
    block, count = b"", 0
    while stream[at] in (SECTION_PART, SECTION_END):
        at += 5
        while (word := struct.unpack_from(">Q", stream, at)[0]) != END:
            at += 8
            count += 1
            if not word & SAME_BLOCK:
                block = stream[at + 1 : at + 1 + stream[at]]
                at += 1 + len(block)
            length = PAGE_BYTES if word & PAGE else 1
            memory[block, word // PAGE_BYTES] = stream[at : at + length] * (PAGE_BYTES // length)
            at += length
        at += 8 + 5
    assert stream[at:] == DEVICES_STATE
    return memory, count


@given(sections)
def test_a_stream_without_zero_pages_gives_the_same_memory(parts: list[list[tuple[bytes, int, int]]]) -> None:
    stream = stream_of(parts)
    smaller = b"".join(without_zero_pages(memoryview(stream)))
    memory, count = loaded(smaller)
    before, count_before = loaded(stream)
    assert memory == before
    assert count <= count_before
    # Again it changes nothing.
    assert b"".join(without_zero_pages(memoryview(smaller))) == smaller


def test_pages_that_hold_nothing_are_left_out() -> None:
    parts = [[(GUEST_MEMORY, 0, ZERO), (GUEST_MEMORY, 1, TEXT), (GUEST_MEMORY, 2, ZERO), (b"pc.bios", 0, ZERO)]]
    stream = stream_of(parts)
    smaller = b"".join(without_zero_pages(memoryview(stream)))
    assert loaded(smaller)[1] == 2
    assert loaded(smaller)[0] == loaded(stream)[0]


@given(sections, st.data())
def test_a_stream_that_is_cut_off_in_the_memory_is_not_taken_for_whole(
    parts: list[list[tuple[bytes, int, int]]], data: st.DataObject
) -> None:
    stream = stream_of(parts)
    length = data.draw(st.integers(0, len(stream) - len(DEVICES_STATE) - 1))
    with pytest.raises(StreamUnknown):
        list(without_zero_pages(memoryview(stream[:length])))


def test_entries_of_an_unknown_kind_are_not_touched() -> None:
    stream = stream_of([[(GUEST_MEMORY, 0, TEXT)]])
    unknown = stream.replace(struct.pack(">Q", PAGE), struct.pack(">Q", 0x40))
    with pytest.raises(StreamUnknown, match="0x40"):
        list(without_zero_pages(memoryview(unknown)))
