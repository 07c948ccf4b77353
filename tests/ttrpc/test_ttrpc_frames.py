"""Frames from bytes, however broken the bytes are."""

import itertools
import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stoker_ttrpc.frames import (
    HEADER_BYTES,
    MAGIC,
    MAX_PAYLOAD_BYTES,
    PREAMBLE_BYTES,
    Decoder,
    Desynchronized,
    Event,
    Flags,
    Frame,
    FrameType,
    Preamble,
)

PREAMBLE = MAGIC + bytes(range(16))

frames = st.builds(
    Frame,
    stream_id=st.integers(0, 2**31 - 1).map(lambda number: 2 * number + 1),
    type=st.sampled_from(FrameType),
    flags=st.integers(0, 7).map(Flags),
    payload=st.binary(max_size=200),
)


def decoded(decoder: Decoder, data: bytes, cuts: list[int] | None = None) -> list[Event]:
    """What a decoder finds in `data`, fed in pieces."""
    events: list[Event] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for start, end in itertools.pairwise(edges):
        events.extend(decoder.feed(data[start:end]))
    return events


def opened() -> Decoder:
    """A decoder that has seen a preamble."""
    decoder = Decoder()
    assert list(decoder.feed(PREAMBLE)) == [Preamble(PREAMBLE)]
    return decoder


@given(st.lists(frames, max_size=8), st.lists(st.integers(0), max_size=12))
def test_frames_arrive_as_sent_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    data = PREAMBLE + b"".join(frame.to_bytes() for frame in sent)
    decoder = Decoder()
    assert decoded(decoder, data, cuts) == [Preamble(PREAMBLE), *sent]
    assert not decoder.is_midway


@given(st.binary(max_size=300).filter(lambda data: MAGIC not in data), st.lists(frames, max_size=4))
def test_bytes_before_the_preamble_are_thrown_away(rubbish: bytes, sent: list[Frame]) -> None:
    data = rubbish + PREAMBLE + b"".join(frame.to_bytes() for frame in sent)
    # Rubbish that ends as the magic begins may swallow its start; then nothing is found, as for any lost preamble.
    if data.find(MAGIC) == len(rubbish):
        assert decoded(Decoder(), data) == [Preamble(PREAMBLE), *sent]


@given(st.binary(max_size=2000), st.lists(st.integers(0), max_size=12))
@settings(max_examples=300)
def test_random_bytes_never_break_the_decoder(data: bytes, cuts: list[int]) -> None:
    decoder = opened()
    assert decoded(decoder, data, cuts) == decoded(opened(), data)


@given(st.binary(max_size=2000))
@settings(max_examples=300)
def test_after_any_rubbish_the_second_preamble_at_the_latest_is_found_once_it_seeks(data: bytes) -> None:
    decoder = opened()
    decoded(decoder, data)
    decoder.seek()
    fresh = MAGIC + os.urandom(16)
    frame = Frame(1, FrameType.REQUEST, Flags.NONE, b"hello")
    events = decoded(decoder, fresh + fresh + frame.to_bytes())
    assert Preamble(fresh) in events
    assert events[-1] == frame


@pytest.mark.parametrize(
    ("length", "stream_id", "kind", "flags"),
    [
        (MAX_PAYLOAD_BYTES + 1, 1, 1, 0),
        (2**32 - 1, 1, 1, 0),
        (0, 1, 0, 0),
        (0, 1, 4, 0),
        (0, 1, 255, 0),
        (0, 1, 1, 8),
        (0, 0, 1, 0),
        (0, 2, 1, 0),
    ],
)
def test_a_malformed_header_makes_it_seek(length: int, stream_id: int, kind: int, flags: int) -> None:
    decoder = opened()
    header = struct.pack(">IIBB", length, stream_id, kind, flags)
    (event,) = decoder.feed(header)
    assert isinstance(event, Desynchronized)
    assert decoder.is_seeking
    good = Frame(3, FrameType.REQUEST)
    assert list(decoder.feed(good.to_bytes() + PREAMBLE + good.to_bytes())) == [Preamble(PREAMBLE), good]


@given(frames, st.integers(1, HEADER_BYTES + 199))
def test_a_truncated_frame_is_midway_until_it_is_given_up(frame: Frame, cut: int) -> None:
    data = frame.to_bytes()[:cut]
    decoder = opened()
    is_whole = len(data) == len(frame.to_bytes())
    assert list(decoder.feed(data)) == ([frame] if is_whole else [])
    assert decoder.is_midway is not is_whole
    decoder.seek()
    assert list(decoder.feed(PREAMBLE)) == [Preamble(PREAMBLE)]


def test_a_preamble_between_frames_is_told_at_once() -> None:
    frame = Frame(1, FrameType.DATA, Flags.NONE, MAGIC)
    assert list(opened().feed(frame.to_bytes() + PREAMBLE + frame.to_bytes())) == [frame, Preamble(PREAMBLE), frame]


def test_a_preamble_inside_a_payload_is_payload() -> None:
    frame = Frame(1, FrameType.REQUEST, Flags.NONE, b"x" + PREAMBLE + b"y")
    assert list(opened().feed(frame.to_bytes())) == [frame]


def test_one_preamble_can_be_sought_and_others_are_passed_over() -> None:
    wanted, other = MAGIC + b"w" * 16, MAGIC + b"o" * 16
    assert list(Decoder(wanted).feed(other + other[:9] + wanted)) == [Preamble(wanted)]


def test_while_it_seeks_it_holds_next_to_nothing() -> None:
    decoder = Decoder()
    for _ in range(64):
        assert not list(decoder.feed(bytes(1024 * 1024)))
    assert len(decoder._buffer) < PREAMBLE_BYTES  # pyright: ignore[reportPrivateUsage] - the promise is about memory
