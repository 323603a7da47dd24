"""The framing of Gemini's bodies: which form, where a payload ends, what is bounded."""

import pytest

from tests.strategies import cut
from unstream.gemini._framing import Framing
from unstream.sse import Event


def payloads(
    body: bytes, step: int, *, limit: int = 1 << 20
) -> tuple[list[tuple[str, bytes]], Framing]:
    """Return name and data of each payload, the array's bracket as `[DONE]`."""
    framing = Framing(limit=limit, error_field=True)
    events: list[Event] = []
    for data in cut(body, [step]):
        events += framing.feed(data)
    events += framing.close(rest=True)
    return [(e.event, e.data.replace(b"\r", b"\n")) for e in events], framing


def check(body: bytes, *expected: bytes | tuple[str, bytes]) -> Framing:
    """Check the payloads of a body at several cuts."""
    named = [e if isinstance(e, tuple) else ("message", e) for e in expected]
    for step in (len(body) or 1, 1, 2, 3, 7):
        found, framing = payloads(body, step)
        assert found == named, step
    return framing


BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"

ARRAYS = [
    (b"[]", [DONE]),
    (b' \r\n[ {"a":1}\n,\r\n{"b":2}\n]\n', [b'{"a":1}', b'{"b":2}', DONE]),
    (BOM + b'[{"a":\n[{}]}]', [b'{"a":\n[{}]}', DONE]),
    (b'[{"a":"]}\\"},{"}]', [b'{"a":"]}\\"},{"}', DONE]),
    (b'[{"a":"\\\\"},{"b":1}]', [b'{"a":"\\\\"}', b'{"b":1}', DONE]),
    (b'[{"a":1}{"b":2}]', [b'{"a":1}', b'{"b":2}', DONE]),  # no comma
    (b'[,,{"a":1},]', [b'{"a":1}', DONE]),
    (
        b'[5,"a,]",nul,[{"a":1}],-1e5]',
        [b"5", b'"a,]"', b"nul", b'[{"a":1}]', b"-1e5", DONE],
    ),
    (b'[}{"a":1}]', [b"}", b'{"a":1}', DONE]),
    (b'[{nope},{"a":1}]', [b"{nope}", b'{"a":1}', DONE]),
    (b'[{"a":NaN}]', [b'{"a":NaN}', DONE]),
    (b'[{"a":"\xff\xc3"}]', [b'{"a":"\xff\xc3"}', DONE]),
    (b'[{"a":1}]{"b":2}[', [b'{"a":1}', DONE, b"{"]),
    (b'[{"a":1}]\n\n]', [b'{"a":1}', DONE, b"]"]),
]


@pytest.mark.parametrize(("body", "expected"), ARRAYS)
def test_an_array(body: bytes, expected: list[bytes]) -> None:
    framing = check(body, *expected)
    assert framing.is_stream
    assert not framing.is_open


OPEN = [
    (b"[", []),
    (b'[{"a":1}', [b'{"a":1}']),
    (b'[{"a":1},', [b'{"a":1}']),
    (b'[{"a":1},{"b', [b'{"a":1}', b'{"b']),
    (b'[{"a":"x\\', [b'{"a":"x\\']),
    (b'["x', [b'"x']),
    (b"[7", [b"7"]),
    (b'[{"a":"}]', [b'{"a":"}]']),
]


@pytest.mark.parametrize(("body", "expected"), OPEN)
def test_an_array_that_is_not_closed(body: bytes, expected: list[bytes]) -> None:
    framing = check(body, *expected)
    assert framing.is_stream
    assert framing.is_open


ALONE = [b'{"a":1}', b' {"a":\n\n1}\n', BOM + b'{"a":1}', b'{"a', b"{", b"{nope}\n"]


@pytest.mark.parametrize("body", ALONE)
def test_an_object_alone_is_no_stream(body: bytes) -> None:
    framing = check(body)
    assert not framing.is_stream
    assert not framing.is_open


OBJECTS = [
    (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
    (b'{"a":1}{"b":2}', [b'{"a":1}', b'{"b":2}']),
    (b'{"a":1},\r\n{"b":2},', [b'{"a":1}', b'{"b":2}']),
    (b'{\n"a":1\n}\n{\n"b":2\n}', [b'{\n"a":1\n}', b'{\n"b":2\n}']),
    (b'{"a":1}\n{"b', [b'{"a":1}', b'{"b']),
    (b'{"a":1}\ndata: {"b":2}\n\n', [b'{"a":1}', b'{"b":2}']),
    (b'{"a":1}\n: x\ndata: {"b":2}\n\n{"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    (b'{"a":1} x\ndata: {"b":2}\n\n', [b'{"a":1}', b"x", b'{"b":2}']),
]


@pytest.mark.parametrize(("body", "expected"), OBJECTS)
def test_objects(body: bytes, expected: list[bytes]) -> None:
    assert check(body, *expected).is_stream


A = b'data: {"a":1}\n\n'
EVENTS = [
    (A + b'{"b":2}\n' + A, [b'{"a":1}', b'{"b":2}', b'{"a":1}']),
    (A + b'{"b":2}', [b'{"a":1}', b'{"b":2}']),
    (A + b'{\n "b":\n2\n}\n' + A, [b'{"a":1}', b'{\n "b":\n2\n}', b'{"a":1}']),
    (A + b'{"b":2}{"c":3} {"d":4}\n', [b'{"a":1}', b'{"b":2}', b'{"c":3}', b'{"d":4}']),
    (A + b'{"b":2}x\n' + A, [b'{"a":1}', b'{"b":2}', b"x", b'{"a":1}']),
    # The event before it has no blank line.
    (b'data: {"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
    # Cut off: by the end, by a blank line, by a line end in a string.
    (A + b'{"b":\n2', [b'{"a":1}', b'{"b":\n2']),
    (A + b'{"b":\n\n' + A, [b'{"a":1}', b'{"b":', b'{"a":1}']),
    (A + b'{"b": "x\n{"c":3}\n', [b'{"a":1}', b'{"b": "x', b'{"c":3}']),
    # The name that it stands under is its own.
    (b'event: error\n{"b":2}\n\n', [("error", b'{"b":2}')]),
    (b'error: {"b":2}\n{"c":3}\n', [("error", b'{"b":2}'), b'{"c":3}']),
    # Lines that go on with an event do not begin with a brace.
    (b"data: {\n  {\n\n", [b"{"]),
]


@pytest.mark.parametrize(("body", "expected"), EVENTS)
def test_objects_between_events(
    body: bytes, expected: list[bytes | tuple[str, bytes]]
) -> None:
    assert check(body, *expected).is_stream


@pytest.mark.parametrize(
    "body",
    [
        b"<style>\np\n{\n}\n</style>",
        b'oops\n{"a":1}\n',
        b"\xef\xbb",
        b'\xef\xbb{"a":1}',
    ],
)
def test_what_is_no_stream_has_no_objects(body: bytes) -> None:
    assert not check(body).is_stream


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"a":1},{"b":"%s"},{"c":3}]' % (b"x" * 50), [b'{"a":1}', b'{"c":3}', DONE]),
        (b'[{"a":1},%s,{"c":3}]' % (b"7" * 50), [b'{"a":1}', b'{"c":3}', DONE]),
        (b'{"b":"%s"}\n{"c":3}' % (b"x" * 50), [b'{"c":3}']),
        (A + b'{"b":"%s"}\n\n' % (b"x" * 50) + A, [b'{"a":1}', b'{"a":1}']),
        (A + b'{"b":\n"%s"}\n\n' % (b"x" * 50) + A, [b'{"a":1}', b'{"a":1}']),
        (A + b'data: %s\n{"b":2}\n\n' % (b"x" * 50) + A, [b'{"a":1}', b'{"a":1}']),
        (A + b'{\n"%s",\n"%s"}\n\n' % ((b"x" * 20,) * 2) + A, [b'{"a":1}', b'{"a":1}']),
    ],
)
def test_what_is_over_the_limit_is_left_out(
    body: bytes, expected: list[bytes], step: int
) -> None:
    found, framing = payloads(body, step, limit=40)
    assert [data for _, data in found] == expected
    assert framing.n_skipped == 1


def test_an_array_between_events_is_none() -> None:
    check(A + b'[{"b":2}]\n' + A, b'{"a":1}', b'{"a":1}')


def test_without_the_rest_nothing_is_handed_out() -> None:
    framing = Framing()
    assert framing.feed(b'[{"a":1},{"b') != []
    assert framing.close() == []
