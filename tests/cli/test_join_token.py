"""The text of a token."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.join_token import ID_BYTES, SECRET_BYTES, make, parse

FINGERPRINT = hashlib.sha256(b"root").hexdigest()
CHANCE = st.binary(min_size=ID_BYTES + SECRET_BYTES, max_size=ID_BYTES + SECRET_BYTES)


@given(CHANCE, st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read(chance: bytes, fingerprint: bytes) -> None:
    token = make(chance, fingerprint.hex())
    assert parse(f" {token}\n") == token
    assert set(str(token)) <= set("abcdefghijklmnopqrstuvwxyz234567.")


@given(CHANCE, st.data())
def test_an_altered_one_is_another_one_or_none(chance: bytes, data: st.DataObject) -> None:
    text = str(make(chance, FINGERPRINT))
    place = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567.A9 ").filter(lambda c: c != text[place]))
    try:
        altered = parse(text[:place] + letter + text[place + 1 :])
    except ValueError:
        return
    assert altered != parse(text)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.b.c.d", "A.B.C", "\0", "ä.ö.ü", "x" * 100_000])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="token"):
        parse(text)
