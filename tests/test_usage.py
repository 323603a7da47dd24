"""Usage for a gateway: what is asked for, and what the client does not see of it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.strategies import (
    chunk,
    chunk_lists,
    cut,
    fold_reads,
    frame,
    grains,
    sizes,
    stream,
    streams,
)
from unstream import usage
from unstream._json import too_deep
from unstream._protocol import error_in
from unstream.sse import BytesLike, Decoder

Json = Any

# --- The request ----------------------------------------------------------------------

OPTION = '"stream_options":{"include_usage":true}'
DECOY = '{"messages":[{"stream_options":null,"x":"\\"stream_options\\":{}"}],'


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ('{"stream":true}', '{"stream":true,' + OPTION + "}"),
        (
            ' {\n "stream" : true , "n":1}\r\n',
            ' {\n "stream" : true,' + OPTION + ' , "n":1}\r\n',
        ),
        ('{"str\\u0065am":true}', '{"str\\u0065am":true,' + OPTION + "}"),
        (
            '{"stream":false,"stream":true}',
            '{"stream":false,"stream":true,' + OPTION + "}",
        ),
        (
            '{"stream_options":null,"stream":true}',
            '{"stream_options":{"include_usage":true},"stream":true}',
        ),
        (
            '{"stream":true,"stream_options": { }}',
            '{"stream":true,"stream_options": {"include_usage":true }}',
        ),
        (
            '{"stream":true,"stream_options":{"include_obfuscation":true}}',
            '{"stream":true,' + OPTION[:-1] + ',"include_obfuscation":true}}',
        ),
        (
            '{"stream":true,"stream_options":{"include_usage":false,"x":1.0}}',
            '{"stream":true,"stream_options":{"include_usage":true,"x":1.0}}',
        ),
        (
            '{"stream":true,"stream_options":{"include_usage":null}}',
            '{"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            '{"stream_options":{},"stream":true,"stream_options":null}',
            '{"stream_options":{},"stream":true,' + OPTION + "}",
        ),
        (  # what is inside a message is no option
            DECOY + '"stream":true}',
            DECOY + '"stream":true,' + OPTION + "}",
        ),
        (  # values that Python cannot read, or would write in another way
            '{"a":1.0,"b":1e400,"c":' + "9" * 5000 + ',"d":-0,"e":"\\ud83d\\u00e9é",'
            '"stream":true,"a":[1.10]}',
            '{"a":1.0,"b":1e400,"c":' + "9" * 5000 + ',"d":-0,"e":"\\ud83d\\u00e9é",'
            '"stream":true,' + OPTION + ',"a":[1.10]}',
        ),
    ],
)
def test_the_option_is_spliced_in(body: str, sent: str) -> None:
    assert usage.ask(body.encode()) == (sent.encode(), usage.Asked.ASKED)


def test_invalid_utf8_is_kept() -> None:
    body = b'{"x":"\xff\xc3","stream":true}'
    sent = b'{"x":"\xff\xc3","stream":true,' + OPTION.encode() + b"}"
    assert usage.ask(body) == (sent, usage.Asked.ASKED)


@pytest.mark.parametrize(
    "body",
    [
        '{"stream":true,"stream_options":{"include_usage":true}}',
        '{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}',
        '{"stream":false}',
        '{"stream":null}',
        '{"stream":true,"stream":false}',
        '{"messages":[]}',
        "{}",
        '\ufeff{"stream":false}',
        '{"stream":false,"stream_options":7}',
    ],
)
def test_what_needs_no_change_comes_back_itself(body: str) -> None:
    sent = body.encode()
    found, asked = usage.ask(sent)
    assert found is sent
    assert asked is usage.Asked.NOT_NEEDED


@pytest.mark.parametrize(
    "body",
    [
        # For the server to refuse, or to read in its own way.
        '{"stream":true,"stream_options":[]}',
        '{"stream":true,"stream_options":"x"}',
        '{"stream":true,"stream_options":false}',
        '{"stream":true,"stream_options":7}',
        # No JSON object.
        "",
        " ",
        "{",
        "null",
        "[true]",
        '[{"stream":true}]',
        '{"stream":true',
        '{"stream":true}}',
        '{"stream":true}{"stream":true}',
        '{"stream":true,}',
        '{,"stream":true}',
        '{"stream":true "n":1}',
        '{"n":"x""stream":true}',
        '{"n":1,,"stream":true}',
        '{"stream"true}',
        '{"stream":true,"n":}',
        '{1:2,"stream":true}',
        "{'stream':true}",
        '{\v"stream":true}',
        '{"stream":true,"n":"\n"}',
        '{"stream":true,"n":"\\x"}',
        '{"stream":tru}',
        '{"stream":True}',
        '{"stream":true,"n":' + "[" * 100_000 + "]" * 100_000 + "}",
        "model=m&stream=true",
    ],
)
def test_what_nobody_can_tell_comes_back_itself(body: str) -> None:
    data = body.encode()
    sent, asked = usage.ask(data)
    assert sent is data
    assert asked is usage.Asked.CANNOT_TELL


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (f'{{"stream":{value}}}', f'{{"stream":{value},{OPTION}}}')
        for value in ("1", '"true"', '"on"', "1.0", "0", '""', "[]", "{}")
    ]
    + [
        (
            f'{{"stream":true,"stream_options":{{"include_usage":{value}}}}}',
            '{"stream":true,"stream_options":{"include_usage":true}}',
        )
        for value in ('"false"', "0", "1", '"true"', "{}", "[]", "0.0")
    ]
    + [('\ufeff{"stream":true}', '\ufeff{"stream":true,' + OPTION + "}")],
)
def test_what_lax_servers_stream_is_asked_for(body: str, sent: str) -> None:
    assert usage.ask(body.encode()) == (sent.encode(), usage.Asked.ASKED)


values: st.SearchStrategy[Json] = st.sampled_from(
    (None, True, False, 0, 1, -1.5, "", "x", [], {}, {"include_usage": None})
)
options = values | st.dictionaries(
    st.sampled_from(("include_usage", "include_obfuscation", "stream", "")), values
)
members = st.tuples(st.just("stream"), st.sampled_from((True,)) | values) | st.tuples(
    st.sampled_from(("stream_options", "stream_options", "n", "messages", "é", "")),
    options | st.lists(options, max_size=2),
)


def written(pairs: Sequence[tuple[str, Json]], **how: Any) -> str:
    """Write an object, keys twice where they stand twice."""
    comma, colon = how.get("separators", (", ", ": "))
    inner: str = comma.join(
        json.dumps(key) + colon + json.dumps(value, **how) for key, value in pairs
    )
    return "{" + inner + "}"


ways = st.sampled_from(
    ({}, {"separators": (",", ":")}, {"indent": 1}, {"separators": (" ,\n", "\t: ")})
)


@given(st.lists(members, max_size=6), ways)
def test_asking_changes_the_option_and_nothing_else(
    pairs: list[tuple[str, Json]], how: dict[str, Any]
) -> None:
    body = written(pairs, **how).encode()
    sent, asked = usage.ask(body)
    last = dict(pairs)
    wanted = last.get("stream_options")
    expected = usage.Asked.ASKED
    if last.get("stream") is None or last["stream"] is False:
        expected = usage.Asked.NOT_NEEDED
    elif not isinstance(wanted, dict | None):
        expected = usage.Asked.CANNOT_TELL
    elif wanted is not None and wanted.get("include_usage") is True:
        expected = usage.Asked.NOT_NEEDED
    assert asked is expected
    if asked is not usage.Asked.ASKED:
        assert sent is body
        return
    options = {**(wanted or {}), "include_usage": True}
    assert json.loads(sent) == {**last, "stream_options": options}
    assert usage.ask(sent) == (sent, usage.Asked.NOT_NEEDED)
    # All of the body is there, but for one value.
    start = next((at for at, byte in enumerate(body) if byte != sent[at]), len(body))
    stop = next(
        (at for at in range(len(body) - start) if body[-1 - at] != sent[-1 - at]),
        len(body) - start,
    )
    assert len(body[start : len(body) - stop]) <= len('{"include_usage": null}')


@given(
    st.lists(members, max_size=6), st.integers(0, 300), st.binary(max_size=2) | grains
)
def test_what_is_no_json_comes_back_itself(
    pairs: list[tuple[str, Json]], at: int, damage: bytes
) -> None:
    whole = written([*pairs, ("stream", True)]).encode()
    body = whole[:at] + damage + whole[at + 1 :]
    sent, asked = usage.ask(body)
    assert (asked is usage.Asked.ASKED) == (sent is not body)
    if asked is usage.Asked.ASKED:
        read = json.loads(body.decode("latin-1").removeprefix("\xef\xbb\xbf"))
        assert read["stream"] not in (None, False) or read["stream"] == 0
        text = sent.decode("latin-1").removeprefix("\xef\xbb\xbf")
        assert json.loads(text)["stream_options"]["include_usage"]


def test_asking_takes_time_in_proportion_to_the_body() -> None:
    def cost(n: int) -> float:
        body = written([(f"k{i}", "x" * 20) for i in range(n)] + [("stream", True)])
        start = time.perf_counter()
        assert usage.ask(body.encode())[1] is usage.Asked.ASKED
        return time.perf_counter() - start

    small = min(cost(1 << 9) for _ in range(5))
    large = min(cost(1 << 13) for _ in range(3))
    assert large / small < 64  # 16 times the members


# --- The response: laws ---------------------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
LAST = {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
usage_chunks = st.sampled_from(
    (
        json.dumps(LAST),
        json.dumps(LAST, separators=(",", ":")),
        json.dumps({**LAST, "error": None, "obfuscation": "xyz"}),
        json.dumps({"usage": {}, "choices": []}),
        '{"choices": [ ],"us\\u0061ge":{"total_tokens":1e400}}',
        '{"choices":[{}],"choices":[],\n"usage":{"x":"\\ud83d"}}',
    )
).map(str.encode)


def filtered(body: bytes, into: Iterable[int] = (1 << 20,)) -> bytes:
    keep = usage.Filter()
    return b"".join(map(keep.feed, cut(body, into))) + keep.close()


def blocks(body: bytes) -> list[bytes]:
    """Cut a body into its byte order mark, its events and what stands between."""
    mark = body[:3] if body.startswith(b"\xef\xbb\xbf") else b""
    found, event = [mark], b""
    for line in re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", body[len(mark) :]):
        if event or not line.startswith(b":"):
            event += line
        else:
            found.append(line)
        if not line.strip(b"\r\n"):
            found.append(event)
            event = b""
    return [*found, event]


def is_last(payload: bytes) -> bool:
    """Say whether a payload is a chunk of nothing but usage."""
    if too_deep(payload):  # which nobody reads
        return False
    try:
        sent = json.loads(payload.decode("utf-8", "replace"))
    except ValueError:
        return False
    return (
        isinstance(sent, dict)
        and sent.get("choices") == []
        and isinstance(sent.get("usage"), dict)
        and error_in(sent) is None
    )


def is_usage(block: bytes) -> bool:
    decoder = Decoder(error_field=True)
    events = decoder.feed(b"\n" + block) + decoder.close(rest=True)
    return [event.event != "error" and is_last(event.data) for event in events] == [
        True
    ]


_FRAMES = (
    b"data: %b\n\n",
    b"data:%b\n\n",
    b"event: x\nid: 1\nretry: 5\ndata: %b\n: comment\n\n",
    b": comment\ndata: %b\n\n",
    b"data\ndata: %b\ndata:\n\n",
    b"data: %b\nerror: no\n\n",
    b"event: error\ndata: %b\n\n",
    b"data: %b\ndata: [DONE]\n\n",
    b"data: {}\ndata: %b\n\n",
    b"data: %b\n",
    b"data: %b",
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw a stream with usage chunks in it, at line ends of any kind."""
    end = draw(st.sampled_from((b"\n", b"\n", b"\r\n", b"\r")))
    body: bytes = draw(st.sampled_from((b"", b"", b"\xef\xbb\xbf")))
    for part in draw(st.lists(usage_chunks | streams | grains, max_size=5)):
        if part.startswith(b"{"):
            lines = part.replace(b"\n", b"\ndata: ")
            event = draw(st.sampled_from(_FRAMES)) % lines
            body += event.replace(b"\n", end)
        else:
            body += part
    return body


@given(bodies(), sizes)
def test_all_but_the_usage_chunks_passes_at_any_cut(
    body: bytes, into: list[int]
) -> None:
    kept = [block for block in blocks(body) if not is_usage(block)]
    assert filtered(body) == b"".join(kept)
    assert filtered(body, into) == b"".join(kept)


@given(bodies(), sizes)
def test_a_reader_misses_the_usage_and_nothing_else(
    body: bytes, into: list[int]
) -> None:
    # A second byte order mark may come to stand first, and be read as one; an error in
    # a field of its own keeps the usage beside it.
    assume(b"\xef\xbb\xbf" not in body[1:] and b"error:" not in body)

    def read(body: bytes) -> list[tuple[str, bytes]]:
        decoder = Decoder()
        events = decoder.feed(body) + decoder.close(rest=True)
        return [(event.event, event.data) for event in events]

    kept = [(e, data) for e, data in read(body) if e == "error" or not is_last(data)]
    assert read(filtered(body, into)) == kept


@given(chunk_lists, st.integers(0, 99), sizes)
def test_the_completion_is_the_same_without_its_usage(
    chunks: list[Json], at: int, into: list[int]
) -> None:
    texts = [json.dumps(one).encode() for one in chunks]
    sent = [text for text in texts if b'"usage"' not in text]
    last = b'{"choices":[],"usage":{"of the last chunk":1}}'
    at %= len(sent) + 1
    body = frame([*sent[:at], last, *sent[at:], b"[DONE]"])
    without = filtered(body, into)
    assert without == frame([*sent, b"[DONE]"])
    whole = fold_reads([body]).completion
    assert whole is not None
    rest = fold_reads([without]).completion
    if rest is None:  # no other chunk
        return
    left = whole.to_dict()
    assert left.pop("usage") == {"of the last chunk": 1}
    assert left == rest.to_dict()


@given(st.lists(usage_chunks | grains, max_size=5), sizes)
def test_an_event_passes_with_its_blank_line_at_the_latest(
    parts: list[bytes], into: list[int]
) -> None:
    body = frame(part.replace(b"\n", b" ").replace(b"\r", b" ") for part in parts)
    keep = usage.Filter()
    so_far = passed = b""
    for data in cut(body, into):
        so_far += data
        passed += keep.feed(data)
        *whole, rest = blocks(so_far)
        due = b"".join(block for block in whole if not is_usage(block))
        assert passed.startswith(due)
        early = passed.removeprefix(due)
        assert rest.startswith(early)
        # Comments are never held; of an event, what passes early are whole lines.
        assert early == rest if rest.startswith(b":") else early[-1:] in (b"", b"\n")


# --- The response: rows ---------------------------------------------------------------

CHUNK = stream(chunk({"content": "Hi"}))
DONE = b"data: [DONE]\n\n"
U = stream(LAST)


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        (CHUNK + U + DONE, CHUNK + DONE),
        (CHUNK + U, CHUNK),
        (CHUNK + U + U + DONE, CHUNK + DONE),
        (U.removesuffix(b"\n"), b""),
        (U.removesuffix(b"\n\n"), b""),
        (U[:-9], U[:-9]),
        (CHUNK + b"data: {", CHUNK + b"data: {"),
        (b"\xef\xbb\xbf" + U + DONE, b"\xef\xbb\xbf" + DONE),
        (b"\xef\xbb", b"\xef\xbb"),
        (b"\xef\xbb" + U + DONE, b"\xef\xbb" + U + DONE),  # no field called data
        (b": OPENROUTER PROCESSING\n\n" + U, b": OPENROUTER PROCESSING\n\n"),
        (b": FEATHERLESS PROCESSING\n" + U, b": FEATHERLESS PROCESSING\n"),
        (b"id: 1\n: hm\nevent: e\n" + U + DONE, DONE),
        (b"\n\n" + U + b"\n" + DONE, b"\n\n\n" + DONE),
        (b"data: x\r\n\r" + U, b"data: x\r\n\r"),
        (U.replace(b"\n", b"\r\n") + DONE, DONE),
        (U.replace(b"\n", b"\r") + DONE, DONE),
        (U[:-1] + b"\r\n" + DONE, DONE),
        (U.replace(b": ", b":"), b""),
        (U.replace(b', "', b'\ndata: , "'), b""),
        (U.replace(b"[]", b"[ ]"), b""),
        # Ordinary chunks that carry a usage (DeepSeek, Perplexity, Gemini), or none.
        *[
            (body, body)
            for body in (
                stream({**chunk({"content": "a"}), "usage": USAGE}),
                stream({**chunk(finish_reason="stop"), "usage": USAGE}),
                stream({"choices": [], "usage": None}),
                stream({"choices": [], "prompt_filter_results": []}),  # Azure
                stream({"choices": None, "usage": USAGE}),
                stream({"choices": {}, "usage": USAGE}),
                stream({"choices": [], "usage": []}),
                stream({"choices": [], "usage": 5}),
                stream({"usage": USAGE}),
                stream([LAST]),
                stream({"choices": [{"delta": {"content": json.dumps(LAST)}}]}),
                stream({"x": LAST}),
                # What the client must see, whatever stands beside it.
                stream({**LAST, "error": {"message": "overloaded"}}),
                stream({**LAST, "x_groq": {"error": "down"}}),
                b"event: error\n" + U,
                b"error: no\n" + U,
                # No chunk, by the grammar of events.
                b"data: {}\n" + U,
                b"\xef\xbb\xbf\xef\xbb\xbf" + U,
                U.replace(b"data", b"Data"),
                U.replace(b"\n\n", b"\n" + U),
                b": " + U,
                json.dumps(LAST).encode(),
                b'{"choices":[{"message":{}}],"usage":{}}',
                b"<html>\n\n</html>",
                b"",
            )
        ],
    ],
)
def test_rows_at_every_cut(body: bytes, passed: bytes) -> None:
    assert filtered(body) == passed
    assert filtered(body, [1]) == passed
    for at in range(1, len(body)):
        keep = usage.Filter()
        assert keep.feed(body[:at]) + keep.feed(body[at:]) + keep.close() == passed


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"data: {", b""),
        (b": keep-al", b": keep-al"),
        (b": keep-alive\n", b": keep-alive\n"),
        (CHUNK + U[:20], CHUNK),
        (b"\n", b"\n"),
        (CHUNK.replace(b"\n", b"\r"), CHUNK.replace(b"\n", b"\r")),
        (b"data: " + b"x" * 65_530, b""),
        (b"data: " + b"x" * 65_531, b"data: " + b"x" * 65_531),
    ],
)
def test_what_passes_at_once(sent: bytes, passed: bytes) -> None:
    assert usage.Filter().feed(sent) == passed


@pytest.mark.parametrize("into", [[1 << 20], [1000], [7]])
def test_an_event_longer_than_a_usage_chunk_passes(into: list[int]) -> None:
    body = stream({**LAST, "x": "x" * 65_536}) + U + stream(chunk({"x": "x" * 99_999}))
    assert filtered(body + U + DONE, into) == body.replace(U, b"") + DONE


def test_an_event_is_held_up_to_the_limit() -> None:
    fits = stream({**LAST, "x": ""})
    padded = fits.replace(b'""', b'"%b"' % (b"x" * (65_537 - len(fits))))
    assert filtered(padded, [7]) == filtered(padded) == b""
    longer = padded.replace(b'"xx', b'"xxx')
    assert filtered(longer, [7]) == filtered(longer) == longer


def test_a_long_event_passes_at_once_from_the_limit_on() -> None:
    keep = usage.Filter()
    assert keep.feed(b"data: " + b"x" * 65_530) == b""
    assert len(keep.feed(b"x")) == 65_537
    rest = [b"x", b"\n", b"data: {", b"}\n", b": y", b"\n", *cut(U, [9]), DONE]
    assert [keep.feed(data) for data in rest] == rest


def test_any_bytes_like_is_taken_and_text_is_not() -> None:
    kinds: list[BytesLike] = [bytearray(CHUNK), memoryview(U), DONE]
    keep = usage.Filter()
    assert b"".join(map(keep.feed, kinds)) == CHUNK + DONE
    with pytest.raises(TypeError):
        keep.feed("data: x")  # type: ignore[arg-type]


def test_closing_twice_gives_the_rest_once() -> None:
    keep = usage.Filter()
    keep.feed(b"data: x")
    assert keep.close() == b"data: x"
    assert keep.close() == b""


def test_iterables_and_async_iterables_are_filtered() -> None:
    reads = cut(CHUNK + U + DONE + b"data: rest", [10])
    passed = CHUNK + DONE + b"data: rest"
    pieces = list(usage.withhold(reads))
    assert b"".join(pieces) == passed
    assert all(pieces)  # some transports end at an empty piece

    async def body() -> AsyncIterator[bytes]:
        for data in reads:
            yield data

    async def read() -> list[bytes]:
        return [piece async for piece in usage.awithhold(body())]

    assert asyncio.run(read()) == pieces


def test_a_generator_is_closed_with_the_filter() -> None:
    ends: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield CHUNK
            yield DONE
        finally:
            ends.append("closed")

    async def leave_early() -> None:
        pieces = usage.awithhold(body())
        assert await anext(pieces) == CHUNK
        await pieces.aclose()
        assert ends == ["closed"]

    asyncio.run(leave_early())


@pytest.mark.parametrize("size", [1, 16])
@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b"data: ", b"x"),
        (b"data: x\n", b"data: x\n"),
        (b"", b"data: x\n\n"),
        (b"", b"\r"),
        (b"", b"\n"),
        (b": ", b"x"),
    ],
    ids=["one line", "one event", "events", "CR", "LF", "comment"],
)
def test_time_is_linear_in_the_bytes(head: bytes, unit: bytes, size: int) -> None:
    def cost(n: int) -> float:
        reads = [head, *cut(unit * (n // len(unit)), [size])]
        keep = usage.Filter()
        start = time.perf_counter()
        for data in reads:
            keep.feed(data)
        return time.perf_counter() - start

    # Below the limit, where all of it is held, and beyond.
    small = min(cost(size << 10) for _ in range(5))
    large = min(cost(size << 14) for _ in range(3))
    assert large / small < 64  # 16 times the bytes


class Source:
    """An iterable, sync and async, that says whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_the_source_is_closed_however_it_ends(taken: int) -> None:
    source = Source()
    passed = usage.withhold(source)
    for _ in range(taken):
        next(passed)
    passed.close()
    assert source.closed == 1

    async def go() -> None:
        later = usage.awithhold(source)
        for _ in range(taken):
            await anext(later)
        await later.aclose()

    asyncio.run(go())
    assert source.closed == 2


def test_a_chunk_is_passed_at_the_end_of_its_line() -> None:
    # Some servers leave out the blank line, and the client waits.
    keep = usage.Filter()
    chunk = b'data: {"choices":[{"delta":{"content":"a"}}]}\n'
    for place in (len(chunk), 20):
        assert keep.feed(chunk[:place]) + keep.feed(chunk[place:]) == chunk
    assert keep.feed(b"\n") == b"\n"
    last = b'data: {"choices":[],"usage":{"total_tokens":9}}\n'
    assert keep.feed(last) == b""
    assert keep.feed(b"\n") == b""


@pytest.mark.parametrize("body", ["{}", bytearray(b"{}"), memoryview(b"{}"), None])
def test_a_body_that_is_not_bytes_is_refused(body: Any) -> None:
    with pytest.raises(TypeError, match="bytes"):
        usage.ask(body)


def test_what_is_held_is_given_out_where_the_source_breaks_off() -> None:
    start = b'data: {"choices":[],"usage":{"total_'

    def source() -> Iterator[bytes]:
        yield start
        raise ConnectionError("the upstream went away")

    seen = usage.withhold(source())
    assert next(seen) == start
    with pytest.raises(ConnectionError, match="went away"):
        next(seen)
