"""Paths and parameters: every rule of the form, and every way to get it wrong."""

from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api.v2.errors import RequestError
from core.api.v2.form import MAX_KEY, NONE, BadPathError, Parameters, key_of, parameters_of
from core.kv.paths import MAX_DEPTH
from core.kv.tree import LONGEST_TTL
from tests.v2.fakes import FORM, request


def put(body: bytes = b"", query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = (FORM,)) -> Parameters:
    return parameters_of(request(b"PUT", b"/v2/keys/k?" + query, body, headers))


def refused(body: bytes = b"", query: bytes = b"", method: bytes = b"PUT") -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        parameters_of(request(method, b"/v2/keys/k?" + query, body))
    return caught.value.code, caught.value.cause


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (b"/v2/keys", b"/"),
        (b"/v2/keys/", b"/"),
        (b"/v2/keys/a", b"/a"),
        (b"/v2/keys/a/", b"/a"),
        (b"/v2/keys//a//b", b"/a/b"),
        (b"/v2/keys/a/./b/../c", b"/a/c"),
        (b"/v2/keys/../../a", b"/a"),
        (b"/v2/keys/a%2Fb", b"/a/b"),
        (b"/v2/keys/a%2f%2e%2e%2Fb", b"/b"),
        (b"/v2/keys/a+b%20c", b"/a+b c"),
        (b"/v2/keys/a=3Db", b"/a=3Db"),
        (b"/v2/keys/%25zz", b"/%zz"),
        (b"/v2/keys/%C3%BC", "/ü".encode()),
        ("/v2/keys/ü".encode(), "/ü".encode()),
        (b"/v2/keys/...", b"/..."),
    ],
)
def test_paths_become_clean_keys(path: bytes, key: bytes) -> None:
    assert key_of(path) == key


@pytest.mark.parametrize("path", [b"/v2/keys/%", b"/v2/keys/%z", b"/v2/keys/%1", b"/v2/keys/a%%20", b"/v2/keys/%zz"])
def test_a_percent_without_two_digits_is_no_path(path: bytes) -> None:
    with pytest.raises(BadPathError):
        key_of(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (b"/%ff", "UTF-8"),
        (b"/\xff", "UTF-8"),
        (b"/" + b"k" * MAX_KEY, "at most 65536"),
        (b"/k" * (MAX_DEPTH + 1), "at most 256"),
    ],
)
def test_keys_beyond_the_limits_are_invalid_fields(path: bytes, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        key_of(b"/v2/keys" + path)
    assert caught.value.code == 209
    assert words in caught.value.cause


def test_keys_at_the_limits_are_taken() -> None:
    assert len(key_of(b"/v2/keys/" + b"k" * (MAX_KEY - 1))) == MAX_KEY
    assert key_of(b"/v2/keys" + b"/k" * MAX_DEPTH).count(b"/") == MAX_DEPTH


def test_nothing_given_is_nothing_asked() -> None:
    assert put() is NONE
    assert parameters_of(request(b"GET", b"/v2/keys/k", b"value=x")) is NONE


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"value=", b""),
        (b"value=bar", b"bar"),
        (b"value=a+b%20c%2B", b"a b c+"),
        (b"value=%ff%00\xfe", b"\xff\x00\xfe"),
        (b"value=a=b=3D", b"a=b=3D"),
        (b"value=1&value=2", b"1"),
        (b"ttl=&value=1", b"1"),
        (b"value", b""),
        (b"&&value=1&", b"1"),
        (b"%76alue=1", b"1"),
        (b"other=1", b""),
        (b"Value=1", b""),
    ],
)
def test_the_value_of_a_form(body: bytes, value: bytes) -> None:
    assert put(body).value == value


def test_the_form_wins_over_the_query() -> None:
    assert put(b"value=form", b"value=query").value == b"form"
    assert put(b"", b"value=query").value == b"query"
    assert put(b"ttl=5", b"value=query") == Parameters(value=b"query", ttl=5)


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        (b"application/x-www-form-urlencoded", True),
        (b"APPLICATION/x-www-form-urlencoded ; charset=utf-8", True),
        (b"text/plain", False),
        (b"multipart/form-data; boundary=x", False),
        (b"", False),
    ],
)
def test_only_a_form_is_read(content_type: bytes, read: bool) -> None:
    assert put(b"value=x", headers=((b"content-type", content_type),)).value == (b"x" if read else b"")
    assert put(b"value=x", headers=()).value == b""


def test_a_content_type_without_a_type_is_no_form() -> None:
    with pytest.raises(RequestError, match="mime: no media type"):
        put(b"value=x", headers=((b"content-type", b";;;"),))


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE"])
def test_only_put_and_post_have_a_form(method: bytes) -> None:
    assert parameters_of(request(method, b"/v2/keys/k?recursive=true", b"prevIndex=7")) == Parameters(recursive=True)


@pytest.mark.parametrize(
    ("body", "query", "cause"),
    [
        (b"value=%zz", b"", 'invalid URL escape "%zz"'),
        (b"value=%z", b"", 'invalid URL escape "%z"'),
        (b"value=%", b"", 'invalid URL escape "%"'),
        (b"%zz=1", b"", 'invalid URL escape "%zz"'),
        (b"", b"value=%4", 'invalid URL escape "%4"'),
        (b"value=%ab%", b"x=%q", 'invalid URL escape "%"'),
        (b"value=a;b", b"", "invalid semicolon separator in query"),
        (b"", b"a;b", "invalid semicolon separator in query"),
        (b"a=1&" * 300, b"", "more than 256 parameters"),
    ],
)
def test_a_bad_form(body: bytes, query: bytes, cause: str) -> None:
    assert refused(body, query) == (210, cause)


FLAGS = {
    "recursive": "recursive",
    "wait": "wait",
    "dir": "directory",
    "quorum": "quorum",
    "stream": "stream",
    "noValueOnSuccess": "quiet",
    "prevExist": "previous_exists",
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("word", ["1", "t", "T", "TRUE", "true", "True"])
def test_words_for_true(name: str, word: str) -> None:
    parameters = parameters_of(request(b"GET", f"/v2/keys/k?{name}={word}".encode()))
    assert getattr(parameters, FLAGS[name]) is True


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("word", ["0", "f", "F", "FALSE", "false", "False"])
def test_words_for_false(name: str, word: str) -> None:
    parameters = parameters_of(request(b"GET", f"/v2/keys/k?{name}={word}".encode()))
    assert getattr(parameters, FLAGS[name]) is False


@pytest.mark.parametrize("name", ["recursive", "sorted", "wait", "dir", "quorum", "stream", "noValueOnSuccess"])
@pytest.mark.parametrize("word", [b"", b"yes", b"tRUE", b"2"])
def test_other_words_are_invalid_fields(name: str, word: bytes) -> None:
    assert refused(query=name.encode() + b"=" + word, method=b"GET") == (209, f'invalid value for "{name}"')


@pytest.mark.parametrize("name", ["prevExist", "refresh"])
def test_two_flags_are_named_without_quotes(name: str) -> None:
    assert refused(query=name.encode() + b"=") == (209, f"invalid value for {name}")


def test_prev_exist_has_three_states() -> None:
    assert put(b"value=1").previous_exists is None
    assert put(b"prevExist=false").previous_exists is False
    assert put(b"prevExist=true").previous_exists is True


@pytest.mark.parametrize("method", [b"PUT", b"POST", b"DELETE", b"HEAD"])
def test_only_get_waits(method: bytes) -> None:
    assert refused(query=b"wait=true", method=method) == (209, '"wait" can only be used with GET requests')
    assert not parameters_of(request(method, b"/v2/keys/k?wait=false")).wait


def test_prev_value_is_not_empty() -> None:
    assert refused(b"prevValue=") == (201, '"prevValue" cannot be empty')
    assert put(b"prevValue=x").previous_value == b"x"


@pytest.mark.parametrize(("name", "field"), [("prevIndex", "previous_index"), ("waitIndex", "wait_index")])
def test_indexes(name: str, field: str) -> None:
    assert getattr(put(name.encode() + b"=18446744073709551615"), field) == 2**64 - 1
    assert getattr(put(name.encode() + b"=" + b"0" * 6000 + b"12"), field) == 12
    for bad in (b"", b"x", b"-1", b"%2B1", b"1.0", b"1_0", b"0x1", b" 1", b"18446744073709551616", "²".encode()):
        assert refused(name.encode() + b"=" + bad) == (203, f'invalid value for "{name}"')


def test_ttl() -> None:
    assert put(b"ttl=").ttl is None
    assert put(b"ttl=0").ttl == 0
    assert put(b"ttl=%d" % LONGEST_TTL).ttl == LONGEST_TTL
    for bad in (b"x", b"-1", b"1.5", b"18446744073709551616"):
        assert refused(b"ttl=" + bad) == (202, 'invalid value for "ttl"')
    assert refused(b"ttl=%d" % (LONGEST_TTL + 1))[0] == 202


def test_refresh() -> None:
    assert put(b"refresh=true&ttl=5") == Parameters(ttl=5, refresh=True)
    assert put(b"refresh=true&ttl=5&value=") == Parameters(ttl=5, refresh=True)
    assert refused(b"refresh=true&ttl=5&value=x") == (211, "A value was provided on a refresh")
    assert refused(b"refresh=true") == (212, "No TTL value set")
    assert refused(b"refresh=true&ttl=") == (212, "No TTL value set")
    assert put(b"refresh=false&value=x").value == b"x"


def test_of_several_errors_the_first_in_etcds_order_is_told() -> None:
    assert refused(b"ttl=x&recursive=x&prevIndex=x&prevValue=")[0] == 203
    assert refused(b"ttl=x&recursive=x&prevValue=")[0] == 209
    assert refused(b"ttl=x&prevValue=")[0] == 201
    assert refused(b"ttl=x&prevExist=x")[0] == 202


@given(st.binary())
def test_any_value_survives_its_escaping(value: bytes) -> None:
    assert put(b"value=" + quote_from_bytes(value, safe="").encode()).value == value
    assert put(b"ttl=1&value=" + quote_from_bytes(value, safe="").encode()).value == value


@given(
    st.lists(st.sampled_from([b"%41", b"%3d", b"%3D", b"=", b"%0a", b"\n", b"\r", b"_", b"a", b" ", b"%25", b"\xff"]))
)
def test_escapes_are_decoded_as_the_standard_library_does(parts: list[bytes]) -> None:
    text = b"".join(parts)
    assert put(b"value=" + text).value == unquote_to_bytes(text)
