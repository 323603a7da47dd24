"""Many values are read at once as each would be read by itself, or not at all."""

from io import StringIO

import pytest

from unstream._rules import State, latest
from unstream._sinks import Lists, Sink, Values, place, read


@pytest.mark.parametrize(
    ("bodies", "text"),
    [
        ([], ""),
        ([b"a", b"", b"b"], "ab"),
        ([rb"\n", rb"\"", rb"\\", b"n"], '\n"\\n'),
        ([rb"\ud83d\ude00", "é😀".encode()], "😀é😀"),
    ],
)
def test_texts_are_read_as_one(bodies: list[bytes], text: str) -> None:
    assert read(None, bodies) == read(StringIO(), bodies) == text


@pytest.mark.parametrize(
    "bodies",
    [
        [b'a"', b'"b'],  # two strings
        [b"\\", b"n"],  # a cut escape
        [rb"\\\\" + b"\\", b'"'],
        [rb"\u00", b"e9"],
        [rb"\u00e", b"9"],
        [b"\xc3", b"\xa9"],  # half a character
        [b"\n"],
        [rb"\x"],
        [rb"\ud83d", rb"\ude00"],  # halves, which are kept and joined another way
    ],
)
def test_bodies_that_are_none_by_themselves_are_refused(bodies: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(StringIO(), bodies)


def test_values_are_folded_one_by_one() -> None:
    state: State = {}
    sink = Values(lambda value: latest(state, "x", value), "x")
    values = read(sink, [b"1", b" [2] ", b'{"a":"}"}', b"null"])
    assert values == [1, [2], {"a": "}"}, None]
    assert not state
    sink.write(values)
    assert state == {"x": {"a": "}"}}


@pytest.mark.parametrize(
    "body", [b"", b"1,2", b"1}", b"[", b"NaN", b'"\\ud83d"', b"[" * 120 + b"]" * 120]
)
def test_what_is_no_value_by_itself_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(Values(None), [b"1", body])


@pytest.mark.parametrize("body", [b"true", b"1.0", b"null", b'"1"'])
def test_a_value_of_another_type_is_refused(body: bytes) -> None:
    assert read(Values(None, kind=int), [b"1", b"2"]) == [1, 2]
    with pytest.raises(ValueError, match="another type"):
        read(Values(None, kind=int), [b"1", body])


def test_lists_become_one_list() -> None:
    sink = Lists()
    assert sink.settle() == b"[]"
    sink.write(b"0")
    first = sink.settle()
    items = read(sink, [b"[1, 2]", b"[ ]", b"[]", b'["]",3]', b'["\xff"]'])
    assert items == '1, 2,"]",3,"\ufffd"'.encode()
    sink.write(items)
    sink.write(b"")
    assert sink.settle() == sink.settle() == b"[0," + items + b"]"
    assert first == b"[0]"


@pytest.mark.parametrize(
    "body", [b"", b"[", b"1", b"{}", b"[1],[2]", b"[01]", b"[1] ", b"[" * 9000]
)
def test_what_is_no_list_by_itself_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(Lists(), [b"[1]", body])


def test_what_changes_one_state_has_one_place() -> None:
    text, lists = StringIO(), Lists()
    sinks: list[tuple[Sink, Sink]] = [
        (text, text),
        (lists, lists),
        (Values(None, (1, "x")), Values(None, (1, "x"))),
    ]
    for one, other in sinks:
        assert place(one) == place(other)
    places = [place(one) for one, _ in sinks]
    assert len({*places, place(StringIO()), place(Lists())}) == 5


def test_what_changes_nothing_has_no_place() -> None:
    assert place(None) != place(None)
    assert place(Values(None)) != place(Values(None))
