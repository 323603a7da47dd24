"""JSON: strict in grammar, lenient in characters."""

import json
import sys
from collections import UserDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import values
from unstream._json import (
    Malformed,
    count_halves,
    dump,
    encode,
    is_object,
    is_prefix,
    mend,
    parse,
    parse_whole,
    read_object,
    too_deep,
    weigh,
)


def model(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# --- Parse ----------------------------------------------------------------------------


@given(values, st.booleans())
def test_what_was_written_is_parsed(value: Any, ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps(value, ensure_ascii=ascii_only)
    if ascii_only:
        assert repr(parse(text.encode())) == repr(value)
    else:
        expected = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        parsed = parse(text.encode("utf-8", "surrogatepass"))
        assert repr(parsed) == repr(json.loads(expected))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b'{"a":1',
        b'{"a":1}}',
        b'{"a":1} x',
        b"{'a':1}",
        b'{"a":1,}',
        b"[1,]",
        b"{a:1}",
        b"-NaN",
        b"+Infinity",
        b'{"a":nan}',
        b'{"a":NaN,}',
        b'{"a":NaN,"b":tru}',
        b'{"a":01}',
        b'{"a":"\x01"}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12"}',
        b'{"a":"\\u12","b":"\\ud83d"}',
        b"\xef\xbb\xbf{}",
        b"[DONE]",
        b"<html>",
        b"\x00",
    ],
)
def test_what_is_not_json_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        parse(payload)


@pytest.mark.parametrize("rest", [b"}", b',"b":"\\ud83d"}'], ids=["alone", "slow"])
@pytest.mark.parametrize(
    "number",
    [
        *(b"1e400", b"-1e400", b"1E+400", b"1.5e309", b"9" * 5000),
        *(b"NaN", b"Infinity", b"-Infinity"),
    ],
    ids=lambda number: number.decode()[:9] + f" ({len(number)})",
)
def test_a_number_that_json_has_not_is_null(number: bytes, rest: bytes) -> None:
    assert parse(b'{"a":' + number + rest)["a"] is None


@pytest.mark.parametrize("rest", [b"}", b',"b":"\\ud83d"}'], ids=["alone", "slow"])
def test_a_long_integer_is_what_it_is(rest: bytes) -> None:
    assert parse(b'{"a":' + b"9" * 400 + rest)["a"] == 10**400 - 1


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b' {"a" : 1} ', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":1,"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b'{"":0}', {"": 0}),
        (b"1e300", 1e300),
        (b"5e-324", 5e-324),
        (b"9" * 30, int("9" * 30)),
        (b"18446744073709551616", 2**64),
        (b'"\\ud83d"', "\ud83d"),
        (b'"\\ude00\\ud83d"', "\ude00\ud83d"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'{"\\ud83d":1}', {"\ud83d": 1}),
        (b'"\xff"', "\ufffd"),
        (b'"\xf0\x9f\x98"', "\ufffd"),
        (b'"\xff\\ud83d"', "\ufffd\ud83d"),
        (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
        (b'"\\u0000\x7f"', "\x00\x7f"),
        (b"null", None),
    ],
)
def test_odd_json_is_read(payload: bytes, expected: Any) -> None:
    assert repr(parse(payload)) == repr(expected)


def nested(depth: int, inner: bytes = b"1") -> bytes:
    return b'{"a":' * depth + inner + b"}" * depth


@pytest.mark.parametrize("depth", [1000, 100_000])
@pytest.mark.parametrize("rest", [b"", b'"\\ud83d"', b'"\xff"', b'"'])
def test_deep_nesting_is_malformed_and_not_a_recursion_error(
    depth: int, rest: bytes
) -> None:
    for payload in (nested(depth, rest), b"[" * depth, b"[" * depth + rest):
        with pytest.raises(Malformed):
            parse(payload)


def test_nesting_is_counted_to_the_level() -> None:
    assert parse(nested(150)) == json.loads(nested(150))
    assert not too_deep(nested(150))
    assert too_deep(nested(151))
    assert too_deep(b"[" * 76 + nested(75) + b"]" * 76)
    with pytest.raises(Malformed):
        parse(nested(151))


@pytest.mark.parametrize(
    "text", ["[" * 400, '[{"' * 200, '\\"[' * 200, "\\\\", "[" * 400 + "\\"]
)
def test_brackets_inside_strings_are_no_nesting(text: str) -> None:
    payload = json.dumps({"a": text, text: [text]}).encode()
    assert not too_deep(payload)
    assert parse(payload) == {"a": text, text: [text]}


def test_brackets_after_an_escaped_backslash_are_nesting() -> None:
    assert too_deep(b'["\\\\",' + nested(200) + b"]")


def test_breadth_is_no_depth() -> None:
    assert not too_deep(b"[" + b"[]," * 1000 + b"{}]")


# --- Dump -----------------------------------------------------------------------------


@given(values)
def test_a_dump_parses_to_its_value(value: Any) -> None:
    assert repr(json.loads(dump(value))) == repr(value)


def test_a_dump_is_compact_and_keeps_halves() -> None:
    assert dump({"a": [1, "é", None]}) == '{"a":[1,"é",null]}'
    assert dump({"a": ["\ud83d", 1]}) == '{"a":["\ud83d",1]}'


# --- Mend -----------------------------------------------------------------------------


@given(st.text(st.sampled_from("a😀\ud83d\ude00\ud83e\udd14é")))
def test_halves_are_joined_and_what_stays_alone_is_replaced(text: str) -> None:
    mended = mend(text)
    assert mended == model(text)
    mended.encode()


def test_mending_reaches_every_string() -> None:
    half, whole = "\ud83d\ude00\ud83d", "😀\ufffd"
    sent = [half, {half: [half]}, 5, None, "a"]
    assert mend(sent) == [whole, {whole: [whole]}, 5, None, "a"]
    assert sent[0] == half
    assert count_halves(sent) == 3
    assert count_halves(["😀", "\ud83d\ude00", {"a": 5}, None]) == 0


# --- Weight ---------------------------------------------------------------------------


def size_of(value: Any) -> int:
    """Return what a value takes, each string and number for itself."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list):
        inner = value
    return sys.getsizeof(value) + sum(map(size_of, inner))


@given(values)
def test_no_value_takes_more_than_it_weighs(value: Any) -> None:
    payload = json.dumps([value], separators=(",", ":")).encode()
    assert size_of(json.loads(payload)) <= weigh(payload)


@pytest.mark.parametrize(
    "item", [b"{}", b"[]", b'{"":{}}', b'{"":0}', b'"ab"', b"9", b"1.5", b'["a",{}]']
)
def test_many_of_a_kind_take_no_more_than_they_weigh(item: bytes) -> None:
    payload = b"[" + b",".join([item] * 1000) + b"]"
    assert size_of(json.loads(payload)) <= weigh(payload)


def test_text_weighs_what_it_is_long() -> None:
    assert weigh(b'{"a":"' + b"x" * 10_000 + b'"}') < 11_000


# --- Saved ----------------------------------------------------------------------------


@given(values)
def test_what_was_saved_is_read(value: Any) -> None:
    text = json.dumps(value)
    for saved in (text, text.encode()):
        assert repr(parse_whole(saved)) == repr(mend(value))


@given(st.lists(values, max_size=2), st.booleans())
def test_mappings_of_any_kind_are_encoded(value: Any, ascii_only: bool) -> None:  # noqa: FBT001
    nested = UserDict(a=UserDict(b=value)) if ascii_only else {"a": {"b": value}}
    assert repr(parse(encode(nested))) == repr({"a": {"b": value}})


def test_what_is_no_json_is_a_type_error() -> None:
    for odd in (object(), {"a": object()}, {"a": "\ud83d", "b": object()}):
        with pytest.raises(TypeError):
            encode(odd)


# --- JSON inside of JSON --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [
        ("{}", True),
        (' {"a":1}\n', True),
        ('{"a":"\ud83d"}', True),
        (r'{"a":"\ud83d"}', True),
        ('{"a":{}', False),
        ("{}{}", False),
        ('{"a":NaN}', False),
        ("[{}]", False),
        ("", False),
        ("{" * 200 + "}" * 200, False),
    ],
)
def test_an_object_is_told_from_what_is_none(text: str, is_whole: bool) -> None:  # noqa: FBT001
    assert is_object(text) is is_whole
    if is_whole:
        assert isinstance(read_object(text), dict)
    else:
        with pytest.raises(Malformed):
            assert type(read_object(text)) is dict or _refuse()


def _refuse() -> Any:
    raise Malformed("no object")


@given(values)
def test_every_beginning_of_json_is_a_prefix(value: Any) -> None:
    text = json.dumps({"a": value})
    for at in range(1, len(text)):
        assert is_prefix(text[:at]), text[:at]
    assert not is_prefix(text)
    assert not is_prefix("]" + text)
