"""Bodies to messages: the quick way and the patient way agree, and whatever cannot be read is refused in words."""

import base64
import json
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api.v3.encoding import Enumeration, Reader, int64, uint64
from core.api.v3.errors import RpcError
from core.api.v3.messages import PutRequest, RangeRequest, TxnRequest

READER: Reader[RangeRequest] = Reader(RangeRequest)
TXN = Reader(TxnRequest)


def refusal_of(read: Callable[[bytes], object], body: bytes) -> int:
    """The code with which a body is refused; 0 if it is read. Nothing else may come of it."""
    try:
        read(body)
    except RpcError as error:
        return int(error.code) if error.message else -1
    return 0


@given(st.binary(), st.binary(), st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_both_ways_of_writing_a_request_mean_the_same(key: bytes, end: bytes, limit: int, flag: bool) -> None:
    strict = {"key": base64.b64encode(key).decode(), "range_end": base64.b64encode(end).decode(), "keys_only": flag}
    odd = {
        "key": base64.urlsafe_b64encode(key).decode().rstrip("="),
        "rangeEnd": base64.urlsafe_b64encode(end).decode(),
        "keysOnly": flag,
        "countOnly": None,
        "unknown": [{"a": 1.5}],
        "limit": str(limit),
    }
    quick = READER.read(json.dumps({**strict, "limit": limit}).encode())
    patient = READER.read(b" \n" + json.dumps(odd).encode() + b" more")
    assert (quick.key, quick.range_end, quick.keys_only) == (key, end, flag)
    assert (patient.key, patient.range_end, patient.keys_only) == (key, end, flag)
    assert int64(quick.limit) == int64(patient.limit) == limit


@given(st.binary(max_size=60) | st.text(alphabet=string.printable, max_size=60).map(str.encode))
def test_nothing_but_a_refusal_comes_of_garbage(body: bytes) -> None:
    for reader in (READER, TXN):
        assert refusal_of(reader.read, body) in (0, 3)
        assert refusal_of(reader.read_all, body) in (0, 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = [field for kind in (TxnRequest, RangeRequest, PutRequest) for field in kind.__struct_fields__]


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), json_values, max_size=4))
def test_any_json_is_read_or_refused(value: object) -> None:
    for reader in (READER, TXN, Reader(PutRequest)):
        assert refusal_of(reader.read, json.dumps(value).encode()) in (0, 3)


@pytest.mark.parametrize("depth", [200, 5_000, 200_000])
@pytest.mark.parametrize("opening", [b"[", b'{"success":[{"request_txn":'])
def test_depth_is_refused_and_not_followed(depth: int, opening: bytes) -> None:
    with pytest.raises(RpcError) as caught:
        TXN.read(opening * depth)
    assert caught.value.code == 3


@pytest.mark.parametrize("depth", [140, 180, 240, 330])
def test_a_whole_message_that_is_deep_is_refused_and_ends_nothing(depth: int) -> None:
    """Those whose names are etcd's other ones are read more slowly, by functions that call themselves."""
    opening, closing = b'{"success":[{"requestTxn":', b"}]}"
    whole = opening * depth + b"{}" + closing * depth
    assert refusal_of(TXN.read, whole) in (0, 3)
    assert refusal_of(TXN.read, opening * 450 + b"{}" + closing * 450) == 3


def test_messages_of_a_stream() -> None:
    reader = Reader(PutRequest)
    assert reader.read_all(b"") == reader.read_all(b" \n") == []
    assert [each.key for each in reader.read_all(b'{"key":"YQ=="} \n {"key":"Yg"}null')] == [b"a", b"b", b""]
    with pytest.raises(RpcError, match="unexpected EOF"):
        reader.read_all(b'{"key":"YQ=="}{')


def test_nothing_is_an_empty_message() -> None:
    assert READER.read(b"") == READER.read(b"{}") == READER.read(b"null") == RangeRequest()


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, "9223372036854775808", "1e3", "", " 1", "0x1", "01", "1_0", "١"]
)
def test_what_is_no_int64(value: int | str) -> None:
    with pytest.raises(RpcError):
        int64(value)


@pytest.mark.parametrize("value", [-1, 2**64, "-1", "18446744073709551616", "x"])
def test_what_is_no_uint64(value: int | str) -> None:
    with pytest.raises(RpcError):
        uint64(value)
    assert uint64("18446744073709551615") == 2**64 - 1


def test_names_and_numbers_of_an_enumeration() -> None:
    fruit = Enumeration("Fruit", "APPLE", "PEAR")
    assert [fruit.number(value) for value in ("APPLE", "PEAR", 1, 77, -1)] == [0, 1, 1, 77, -1]
    for value in ("pear", "1", 2**31, ""):
        with pytest.raises(RpcError):
            fruit.number(value)
