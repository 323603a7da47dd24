"""Bytes to events: the grammar of the standard, at any cut."""

import re
import tracemalloc
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.strategies import cut, grains, sizes, streams
from unstream import sse
from unstream.sse import BytesLike, Decoder, Event, Run


def decode(body: bytes, into: list[int] | None = None, **options: Any) -> list[Event]:
    """Decode a body at once, by single bytes and as given; they must agree."""
    rest = options.pop("rest", False)
    ways = []
    for reads in ([body], cut(body, [1]), cut(body, into or [3])):
        decoder = Decoder(**options)
        events = [event for data in reads for event in decoder.feed(data)]
        events += decoder.close(rest=rest)
        state = (decoder.last_event_id, decoder.retry, decoder.n_skipped)
        ways.append((events, state, decoder.n_unknown))
    assert ways[0] == ways[1] == ways[2]
    return ways[0][0]


def data_of(body: bytes, **options: Any) -> list[bytes]:
    return [event.data for event in decode(body, **options)]


# --- Laws -----------------------------------------------------------------------------


def whatwg(body: bytes) -> tuple[list[Event], str, int | None]:
    """Decode a whole body by the letter of the standard."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    events = []
    data: list[str] = []
    kind, last_id, buffered = "", "", ""
    retry = own_retry = None
    for line in re.split("\r\n|\n|\r", text)[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_id = buffered
            if data:
                joined = "\n".join(data).encode()
                events.append(Event(kind or "message", joined, last_id, own_retry))
            data, kind, own_retry = [], "", None
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            buffered = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            retry = own_retry = int(value)
    return events, last_id, retry


@given(grains | streams, sizes)
def test_events_are_those_of_the_standard_at_any_cut(
    body: bytes, into: list[int]
) -> None:
    decoder = Decoder()
    events = [event for data in cut(body, into) for event in decoder.feed(data)]
    events += decoder.close()
    found = [
        Event(e.event, e.data.decode("utf-8", "replace").encode(), e.id, e.retry)
        for e in events
    ]
    assert (found, decoder.last_event_id, decoder.retry) == whatwg(body)


@given(grains | streams, sizes)
def test_cuts_do_not_matter_to_a_lenient_decoder_with_a_small_limit(
    body: bytes, into: list[int]
) -> None:
    decode(body, into, limit=60, error_field=True, rest=True)


@given(grains, sizes)
def test_an_event_comes_out_with_its_blank_line(body: bytes, into: list[int]) -> None:
    body = body.replace(b"\r", b"")
    decoder = Decoder()
    so_far = 0
    n_events = 0
    for data in cut(body, into):
        so_far += len(data)
        n_events += len(decoder.feed(data))
        assert n_events == len(whatwg(body[:so_far])[0])


@given(grains)
def test_idle_says_that_nothing_is_pending(body: bytes) -> None:
    decoder = Decoder(error_field=True)
    decoder.feed(body)
    if decoder.idle:
        assert decoder.close(rest=True) == []
        fresh = Decoder(error_field=True)
        fresh.feed(b"x\n\n")  # past the byte order mark
        tail = b"data: a\nretry: 7\n\nevent: e\ndata\n\nerror: x\n"
        last_id = decoder.last_event_id
        expected = [replace(event, id=last_id) for event in fresh.feed(tail)]
        assert decoder.feed(tail) == expected


# --- Rows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data:\ta\n\n", [b"\ta"]),
        (b"data\n\n", [b""]),
        (b"data:\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b"data\ndata\n\n", [b"\n"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"]),
        (b"data: a\rdata: b\r\r", [b"a\nb"]),
        (b"data: a\r\r\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\rdata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"Data: a\n\n", []),
        (b" data: a\n\n", []),
        (b"data : a\n\n", []),
        (b"dataa: a\n\n", []),
        (b": data: a\n\n", []),
        (b":\n\n", []),
        (b"\n\n\n", []),
        (b"event: x\n\n", []),
        (b"data: a", []),
        (b"data: a\n", []),
        (
            b"data: \xe2\x80\xa8\xc2\x85\x0b\x0c\x1c\n\n",
            [b"\xe2\x80\xa8\xc2\x85\x0b\x0c\x1c"],
        ),
        (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
        (b"data: \x00\n\n", [b"\x00"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"\n\xef\xbb\xbfdata: a\n\n", []),
        (b"\xef\xbbdata: a\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b"data: {}\n : x\n\n", [b"{}"]),
    ],
)
def test_data_is_read_as_the_standard_says(body: bytes, expected: list[bytes]) -> None:
    assert data_of(body) == expected


def test_event_id_and_retry_come_with_the_event() -> None:
    body = b"event: add\nid: 7\nretry: 0100\ndata: a\n\ndata: b\n\nid\ndata: c\n\n"
    assert decode(body) == [
        Event("add", b"a", "7", 100),
        Event("message", b"b", "7", None),
        Event("message", b"c", "", None),
    ]


def test_the_last_event_name_of_a_block_counts() -> None:
    assert decode(b"event: a\nevent\ndata: x\n\n")[0].event == "message"
    assert decode(b"event: a\nevent: b\ndata: x\n\n")[0].event == "b"


def test_an_event_name_does_not_outlive_its_block() -> None:
    assert decode(b"event: a\n\ndata: x\n\n")[0].event == "message"


def test_names_and_ids_are_decoded_leniently() -> None:
    event = decode(b"event: \xff\nid: \xc3\xa9\xff\ndata: x\n\n")[0]
    assert (event.event, event.id) == ("\ufffd", "é\ufffd")


def test_an_id_with_a_nul_is_ignored() -> None:
    assert decode(b"id: 1\nid: \x002\ndata: x\n\n")[0].id == "1"


def test_the_last_event_id_is_set_by_the_blank_line() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 5\n")
    assert decoder.last_event_id == ""
    decoder.feed(b"\n")
    assert decoder.last_event_id == "5"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"5", 5),
        (b" 5", 5),
        (b"  5", None),
        (b"-5", None),
        (b"5.0", None),
        (b"0x5", None),
        (b"", None),
        ("٣".encode(), None),
        (b"0" * 30 + b"5", 5),
        (b"9" * 18, 10**18 - 1),
        (b"9" * 19, None),
        (b"9" * 5000, None),
        (b"0" * 5000 + b"5", 5),
    ],
)
def test_retry_is_digits(value: bytes, expected: int | None) -> None:
    decoder = Decoder()
    decoder.feed(b"retry:" + value + b"\n")
    assert decoder.retry == expected


def test_lines_that_are_no_field_are_counted() -> None:
    decoder = Decoder()
    decoder.feed(b"<html>\ndata: a\n: b\nerror: c\nretry: x\nid: \x00\nevent\n{}\n")
    assert decoder.n_unknown == 3


def test_is_stream_says_whether_a_field_or_comment_came() -> None:
    for line, expected in [
        (b"<html>\n", False),
        (b"\n", False),
        (b": hi\n", True),
        (b"data: x\n", True),
        (b"data\n", True),
        (b"event: x\n", True),
        (b"id: x\n", True),
        (b"retry: x\n", True),
        (b"error: x\n", False),
    ]:
        decoder = Decoder()
        decoder.feed(line)
        assert decoder.is_stream is expected, line


# --- The error field ------------------------------------------------------------------


def test_an_error_field_is_an_event_by_itself_where_asked_for() -> None:
    body = b'id: 3\n\ndata: a\nerror: {"x":1}\ndata: b\n\n'
    assert decode(body, error_field=True) == [
        Event("error", b'{"x":1}', "3"),
        Event("message", b"a\nb", "3"),
    ]
    assert decode(body) == [Event("message", b"a\nb", "3")]


def test_the_word_error_alone_is_no_error() -> None:
    assert decode(b"error\n\n", error_field=True) == []


# --- The end --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"data: a\ndata: b", [b"a\nb"]),
        (b"data: a\r", [b"a"]),
        (b"data", [b""]),
        (b"event: x", []),
        (b"\xef\xbb", []),
        (b"\xef\xbb\xbf", []),
        (b"", []),
        (b"data: a\n\n", []),
    ],
)
def test_close_returns_the_rest_only_where_asked_for(
    body: bytes, rest: list[bytes]
) -> None:
    strict, lenient = Decoder(), Decoder()
    fed = [strict.feed(body), lenient.feed(body)]
    assert fed[0] == fed[1]
    assert strict.close() == []
    assert [event.data for event in lenient.close(rest=True)] == rest


def test_close_twice_returns_the_rest_once() -> None:
    decoder = Decoder()
    decoder.feed(b"data: a")
    assert len(decoder.close(rest=True)) == 1
    assert decoder.close(rest=True) == []


# --- Limits ---------------------------------------------------------------------------


def test_an_event_over_the_limit_is_skipped_and_counted_once() -> None:
    body = b"data: a\n\ndata: " + b"x" * 100 + b"\ndata: y\ndata: z\n\ndata: b\n\n"
    assert data_of(body, limit=90) == [b"a", b"b"]
    decoder = Decoder(limit=90)
    decoder.feed(body * 2)
    assert decoder.n_skipped == 2


def test_many_short_lines_add_up_to_the_limit() -> None:
    body = b"data: aaaa\n" * 10 + b"\ndata: b\n\n"
    assert data_of(body, limit=100) == [b"b"]
    assert len(data_of(body, limit=1000)) == 2


@pytest.mark.parametrize("line", [b"data:\n", b"data\n", b"data: \n"])
def test_empty_lines_of_data_count_as_well(line: bytes) -> None:
    assert data_of(line * 1000 + b"\ndata: b\n\n", limit=500) == [b"b"]


def test_a_line_as_long_as_the_limit_is_read() -> None:
    body = b"data: " + b"x" * 94 + b"\n\n"
    assert data_of(body, limit=100) == [b"x" * 94]
    assert data_of(body, limit=99) == []


def test_the_limit_counts_anew_for_each_event() -> None:
    assert data_of(b"data: aaaa\n\n" * 50, limit=60) == [b"aaaa"] * 50


def test_a_long_comment_takes_no_event_with_it() -> None:
    body = b"data: a\n:" + b"x" * 500 + b"\ndata: b\n\n"
    assert data_of(body, limit=120) == [b"a\nb"]


def test_after_a_lost_line_the_name_is_not_kept() -> None:
    body = b"event: x\ndata: " + b"x" * 500 + b"\n\ndata: b\n\n"
    assert decode(body, limit=100) == [Event("message", b"b")]


@pytest.mark.parametrize(
    "head", [b"", b"data: a\n\n", b"event: e\ndata: a\n\n", b":\n"]
)
@pytest.mark.parametrize(
    "event",
    [
        b"data: " + b"x" * 14 + b"\n\n",
        b"data:" + b"x" * 15 + b"\n\n",
        b"event: e\ndata: " + b"x" * 14 + b"\n\n",
        b"data: " + b"x" * 14 + b"\ndata: y\n\n",
        b"data: " + b"x" * 14 + b"\n\ndata: z\n\n",
    ],
)
def test_the_limit_is_the_same_at_any_cut(head: bytes, event: bytes) -> None:
    body = head + event + event
    for limit in range(12, 80):
        whole = Decoder(limit=limit)
        events = whole.feed(body)
        for at in range(1, len(body)):
            for reads in ([body[:at], body[at:]], cut(body, [at])):
                decoder = Decoder(limit=limit)
                found = [one for data in reads for one in decoder.feed(data)]
                assert (found, decoder.n_skipped) == (events, whole.n_skipped)


def test_a_line_over_the_limit_is_not_held() -> None:
    decoder = Decoder(limit=10_000)
    piece = b"x" * 4096
    tracemalloc.start()
    for _ in range(500):
        decoder.feed(piece)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 100_000
    assert decoder.feed(b"\n\ndata: b\n\n") == [Event("message", b"b")]
    assert decoder.n_skipped == 1


# --- What may be fed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"data: a\n\n",
        bytearray(b"data: a\n\n"),
        memoryview(b"data: a\n\n"),
        memoryview(b"xdata: a\n\nx")[1:-1],
        memoryview(b"d_a_t_a_:_ _a_\n_\n_")[::2],
        memoryview(array("H", [0x6164, 0x6174, 0x203A, 0x0A61, 0x0A0A])),
    ],
)
def test_anything_bytes_like_may_be_fed(data: BytesLike) -> None:
    assert [event.data for event in Decoder().feed(data)] == [b"a"]


def test_a_bytearray_may_change_after_it_was_fed() -> None:
    decoder = Decoder()
    data = bytearray(b"data: a")
    decoder.feed(data)
    data[:] = b"zzzzzzzzz"
    assert decoder.feed(b"\n\n") == [Event("message", b"a")]


@pytest.mark.parametrize("data", ["data: a\n\n", 5, None, 1.5, ["data"], object()])
def test_what_is_not_bytes_like_is_a_type_error(data: Any) -> None:
    with pytest.raises(TypeError):
        Decoder().feed(data)


def test_an_event_is_a_value() -> None:
    assert Event("message", b"a") == Event("message", b"a", "", None)
    with pytest.raises(AttributeError):
        Event("message", b"a").data = b""  # type: ignore[misc]
    assert sse.DEFAULT_LIMIT == 64 * 1024 * 1024


# --- Runs -----------------------------------------------------------------------------


def runs_of(reads: list[bytes]) -> list[list[bytes] | Event]:
    decoder = Decoder()
    return [found for data in reads for found in decoder.read(data)]


def test_events_of_one_data_line_come_as_runs() -> None:
    body = b"data: a\n\ndata: b\n\ndata: c\n\n"
    assert runs_of([body]) == [[b"a", b"b", b"c"]]
    assert runs_of([b"\xef\xbb\xbf" + body.replace(b"\n", b"\r\n")]) == [
        [b"a", b"b", b"c"]
    ]


def test_a_run_knows_its_size_and_its_names() -> None:
    named = b"event: x\ndata: a\n\nevent: y\ndata: bc\n\n"
    [run] = runs_of([b"data: a\n\ndata: bc\n\n"])
    assert isinstance(run, Run)
    assert (run.size, run.names, run.name(0)) == (3, None, "")
    [run] = runs_of([named])
    assert isinstance(run, Run)
    assert run == [b"a", b"bc"]
    assert (run.name(0), run.name(1)) == ("x", "y")


def test_an_event_named_error_is_never_in_a_run() -> None:
    body = b"event: x\ndata: a\n\nevent: error\ndata: b\n\nevent: x\ndata: c\n\n"
    found = runs_of([body])
    assert Event("error", b"b") in found
    assert [list(run) for run in found if isinstance(run, Run)] == [[b"a"], [b"c"]]


@given(
    st.lists(
        st.sampled_from((b"data: a", b"data: b\ndata: c", b": x", b"")), max_size=9
    ),
    sizes,
)
def test_the_size_of_a_run_is_its_length(lines: list[bytes], into: list[int]) -> None:
    for run in runs_of(cut(b"\n\n".join([*lines, b""]), into)):
        if isinstance(run, Run) and run.size:
            assert run.size == sum(map(len, run))
