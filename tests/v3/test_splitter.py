"""Objects one behind the other, cut out of pieces of any size."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api.v3 import splitter as splitter_module
from core.api.v3.errors import RpcError
from core.api.v3.splitter import Splitter

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\{}[]é\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='"\\{}b', max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(alphabet='"\\{}k', max_size=4), values, max_size=3)


def take_all(splitter: Splitter) -> list[bytes]:
    found = []
    while (piece := splitter.next()) is not None:
        found.append(piece)
    return found


@given(st.lists(objects), st.sampled_from(["", " ", "\r\n\t "]), st.booleans(), st.integers(1, 9))
def test_it_gives_what_was_put_in(given_: list[object], between: str, ascii_only: bool, size: int) -> None:
    data = between.join(json.dumps(value, ensure_ascii=ascii_only) for value in given_).encode()
    splitter = Splitter()
    found = []
    for start in range(0, len(data), size):
        splitter.feed(data[start : start + size])
        found += take_all(splitter)
    splitter.end()
    assert [json.loads(piece) for piece in found] == given_
    assert splitter.held == 0


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b"}", b'"a"', b"\xff", b"{}x"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    splitter = Splitter()
    splitter.feed(data)
    with pytest.raises(RpcError, match="looking for beginning of value"):
        take_all(splitter)


def test_the_middle_of_an_object_is_no_end() -> None:
    splitter = Splitter()
    splitter.feed(b'{"a":{}')
    assert splitter.next() is None
    with pytest.raises(RpcError, match="unexpected EOF"):
        splitter.end()


def test_an_endless_object_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitter_module, "LONGEST", 100)
    splitter = Splitter()
    splitter.feed(b'{"a":"' + b"x" * 90)
    assert splitter.next() is None
    splitter.feed(b"x" * 90)
    with pytest.raises(RpcError, match="more than 100 bytes"):
        splitter.next()
