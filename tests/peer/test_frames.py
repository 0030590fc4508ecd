"""Frames and plain values: whatever is cut, flipped or nested, what comes out is whole or nothing."""

import itertools
import struct
from collections.abc import Iterable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.peer import FrameError, Plain
from core.peer.frames import FORMAT, HEADER, MAGIC, FrameReader, frame
from core.peer.plain import DEPTH, decode, encode

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=30,
)
kinds = st.integers(0, 255)


def read(reader: FrameReader, chunks: Iterable[bytes]) -> list[tuple[int, bytes]]:
    return [found for chunk in chunks for found in reader.feed(chunk)]


@given(plain_values)
def test_plain_values_come_back_as_they_were(value: Plain) -> None:
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)


@given(st.lists(st.tuples(kinds, st.binary(max_size=300)), max_size=8), st.data())
def test_frames_come_out_whole_however_they_are_cut(sent: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frame(kind, body) for kind, body in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]
    reader = FrameReader(300)
    assert read(reader, chunks) == sent
    assert reader.between


@given(st.lists(st.tuples(kinds, st.binary(max_size=60)), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_is_found(sent: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = bytearray(b"".join(frame(kind, body) for kind, body in sent))
    place = data.draw(st.integers(0, len(stream) * 8 - 1))
    stream[place // 8] ^= 1 << place % 8
    reader = FrameReader(1 << 20)
    found = []
    try:
        for item in reader.feed(bytes(stream)):
            found.append(item)
    except FrameError:
        pass
    else:
        assert not reader.between, "a longer frame may be expected now, but none may be taken for whole"
    assert found == sent[: len(found)]
    assert len(found) < len(sent)


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_frame_errors(garbage: bytes) -> None:
    reader = FrameReader(1000)
    try:
        found = read(reader, [garbage])
    except FrameError:
        return
    assert found == []
    assert MAGIC.startswith(garbage[:2])


@given(st.binary(max_size=60))
def test_any_bytes_decode_to_plain_values_or_not_at_all(body: bytes) -> None:
    try:
        value = decode(body)
    except FrameError:
        return
    assert decode(encode(value)) == value


def test_a_frame_is_refused_at_its_header_if_it_is_too_long() -> None:
    reader = FrameReader(1000)
    assert read(reader, [frame(1, b"x" * 1000)]) == [(1, b"x" * 1000)]
    with pytest.raises(FrameError, match="1001 bytes; at most 1000"):
        read(reader, [HEADER.pack(MAGIC, FORMAT, 1, 1001, 0)])


def test_good_frames_before_a_bad_one_are_taken() -> None:
    frames = FrameReader(1000).feed(frame(1, b"a") + frame(2, b"b") + b"HTTP/1.1 200 OK")
    assert [next(frames), next(frames)] == [(1, b"a"), (2, b"b")]
    with pytest.raises(FrameError, match="no frame"):
        next(frames)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not CBOR"),
        (b"\x82\x01", "not CBOR"),  # a list without its second item
        (b"\x5b" + b"\x7f" + b"\xff" * 7, "not CBOR"),  # more bytes than there are
        (b"\x9b" + b"\x7f" + b"\xff" * 7, "not CBOR"),
        (b"\x62\xff\xff", "not CBOR"),  # no UTF-8
        (b"\x01\x01", "behind"),
        (b"\xa0", "type dict"),
        (b"\x81\xa1\x01\x02", "type dict"),
        (b"\xf9\x3c\x00", "type float"),
        (b"\xf7", "type"),  # undefined
        (b"\xf0", "type"),  # a simple value
        (b"\x9f\x01\xff", "not CBOR"),  # indefinite lengths
        (b"\x5f\x41a\xff", "not CBOR"),
        (b"\x81" * (DEPTH + 2) + b"\x00", "not CBOR"),
        (cbor2.dumps([1, cbor2.CBORTag(4711, 1)]), "not CBOR"),
    ],
)
def test_what_is_not_plain_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode(body)


def test_no_tag_is_carried_out() -> None:
    """Dates, patterns to compile, shared and circular values, large numbers: nothing of what the library knows."""
    contents = (b"\x00", b"\x61a", b"\x41a", b"\x80", b"\x82\x01\x02", b"\x81\xd8\x1d\x00")
    for tag in range(60_000):
        for content in contents if tag < 300 else contents[:1]:
            with pytest.raises(FrameError):
                decode(b"\xda" + struct.pack(">I", tag) + content)
