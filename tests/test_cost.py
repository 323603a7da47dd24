"""What hostile streams cost: time and memory a byte, in proportion to the ordinary.

Time is a ratio of two ways in one run. The measure is the ordinary road: events as
OpenAI sends them, in each of which something else changes, so that no event is like
another. Memory is what was traced at the peak, from the first byte to the outcome.
"""

import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import unstream
from tests.strategies import chunk, cut, stream
from unstream import Accumulator, Ending, Outcome

MIB: Final = 1024 * 1024


def event(payload: bytes) -> bytes:
    return b"data: %b\n\n" % payload


def repeated(data: bytes, size: int = MIB // 12) -> bytes:
    return data * (size // len(data) + 1)


def numbered(template: bytes, n: int) -> bytes:
    return b"".join(event(template.replace(b"#", b"%d" % i)) for i in range(n))


def fold(
    data: bytes, step: int = 65536, *, ask: bool = False
) -> tuple[float, Outcome[Any]]:
    """Fold a stream in reads; return the seconds of CPU that it took."""
    reads = cut(data, [step])
    accumulator = Accumulator()
    gc.disable()  # its passes depend on what other tests left behind
    try:
        start = time.process_time()
        for read in reads:
            accumulator.feed(read)
            if ask:
                assert accumulator.has_content in (True, False)
        outcome = accumulator.finish()
        return time.process_time() - start, outcome
    finally:
        gc.enable()


# --- Time -----------------------------------------------------------------------------

ORDINARY: Final = numbered(
    b'{"id":"chatcmpl-CpJ4yB1Vq0mNn0aV6f3XnTg2s7QeL","object":"chat.completion.chunk",'
    b'"created":1795000000,"model":"gpt-4.1-mini-2025-04-14","service_tier":"default",'
    b'"system_fingerprint":"fp_1a2b3c4d5e","choices":[{"index":0,"delta":{"content":'
    b'" tok"},"logprobs":null,"finish_reason":null}],"usage":null,"x_queue_ms":#}',
    300,
)
TEXT: Final = b'{"choices":[{"index":0,"delta":{"content":"%b"}}]}'
SILENT: Final = event(
    b'{"choices":['
    + b",".join(b'{"index":%d,"delta":{"role":"a"}}' % i for i in range(1024))
    + b"]}"
)
LIST: Final = b'{"choices":[{"delta":{"%b":[' + b"{}," * 80 + b"{}]}}]}"

HOSTILE: Final[dict[str, bytes]] = {
    "blank payloads": repeated(b"data:\n\n"),
    "payloads of a space": repeated(b"data: \n\n"),
    "payloads of a digit": repeated(b"data: 1\n\n"),
    "payloads of a brace": repeated(b"data: {\n\n"),
    "payloads of an object": repeated(b"data: {}\n\n"),
    "cut objects in one event": repeated(b"data: {x\n") + b"\n",
    "cut objects in one event, and a whole one": (
        repeated(b"data: {x\n") + b"data: {}\n\n"
    ),
    "braces in one event": repeated(b"data: {x}\n") + b"\n",
    "blank lines": repeated(b"\n"),
    "comments": repeated(b":\n"),
    "ids": repeated(b"id:1\n"),
    "unknown fields": repeated(b"x\n"),
    "names": repeated(b"event: x\ndata: {}\n\n"),
    "annotations of {}": repeated(event(LIST.replace(b"%b", b"annotations"))),
    "annotations of {}, large": event(
        LIST.replace(b"%b", b"annotations").replace(b"{},", b"{}," * 1000)
    ),
    "images of {}": repeated(event(LIST.replace(b"%b", b"images"))),
    "[DONE]": repeated(b"data: [DONE]\n\n"),
    "halves of characters": repeated(event(TEXT.replace(b"%b", rb"\ud83d"))),
    "halves of characters, after whole ones": (
        repeated(event(TEXT.replace(b"%b", b"abc")))
        + repeated(event(TEXT.replace(b"%b", rb"\ud83d")))
    ),
    "bytes that are no UTF-8, after some that are": (
        repeated(event(TEXT.replace(b"%b", b"abc")))
        + repeated(event(TEXT.replace(b"%b", b"\xff")))
    ),
    "escapes that are none, after texts": (
        repeated(event(TEXT.replace(b"%b", b"abc")))
        + repeated(event(TEXT.replace(b"%b", rb"\x")))
    ),
    "every other text broken": repeated(
        event(TEXT.replace(b"%b", b"abc")) + event(TEXT.replace(b"%b", rb"\ud83d"))
    ),
    "every fortieth text broken": repeated(
        event(TEXT.replace(b"%b", b"abc")) * 39 + event(TEXT.replace(b"%b", rb"\ud83d"))
    ),
    "nine choices by turns": b"".join(
        event(b'{"choices":[{"index":%d,"delta":{"content":"a"}}]}' % (i % 9))
        for i in range(1500)
    ),
    "an unknown key that changes": numbered(
        b'{"choices":[{"index":0,"delta":{"content":"a"}}],"x":#}', 1500
    ),
    "a usage that changes": numbered(b'{"choices":[],"usage":{"a":#}}', 1500),
    "escaped quotes": repeated(event(TEXT.replace(b"%b", rb"\"" * 4000))),
    "nested deeply": repeated(event(b'{"x":' + b"[" * 148 + b"]" * 148 + b"}")),
    "nested too deeply": repeated(event(b'{"x":' + b"[" * 151 + b"]" * 151 + b"}")),
    "events of another API": repeated(event(b'{"type":"ping"}')),
}
# At the most so many times the ordinary road, though an event may be short.
BOUND: Final = 10


def ratio(work: Callable[[], tuple[float, Any]], n_bytes: int) -> float:
    """Return how many times the ordinary road a byte of the work costs."""
    best = float("inf")
    for _ in range(3):  # what else the machine does comes on top
        ordinary = min(fold(ORDINARY)[0] for _ in range(2)) / len(ORDINARY)
        best = min(best, min(work()[0] for _ in range(2)) / n_bytes / ordinary)
        if best < BOUND:
            break
    return best


@pytest.mark.parametrize("name", HOSTILE)
def test_no_byte_costs_ten_times_the_ordinary(name: str) -> None:
    data = HOSTILE[name]
    assert ratio(lambda: fold(data), len(data)) < BOUND


def test_a_line_in_reads_of_a_byte_costs_no_more() -> None:
    line = event(TEXT.replace(b"%b", b"x" * 20_000))
    assert ratio(lambda: fold(line, 1), len(line)) < BOUND


@pytest.mark.parametrize(
    "each",
    [
        b": keep-alive\n\n",
        event(b'{"choices":[]}'),
        event(b'{"choices":[{"index":7,"delta":{"role":"a"}}]}'),
    ],
    ids=["comments", "no choices", "roles"],
)
def test_asking_costs_what_one_choice_does_however_many_are_silent(each: bytes) -> None:
    """Whether any said something is known, and not asked of each choice."""
    one = event(b'{"choices":[{"index":7,"delta":{"role":"a"}}]}')

    def asked(first: bytes) -> float:
        return min(
            fold(first + each * 600, len(each), ask=True)[0]
            - fold(first, len(each), ask=True)[0]
            for _ in range(3)
        )

    assert min(asked(SILENT) / asked(one) for _ in range(2)) < 2


# --- Memory ---------------------------------------------------------------------------


def filled(head: bytes, unit: bytes, tail: bytes, size: int) -> Iterator[bytes]:
    """Write events of about a size, filled with units that are numbered throughout."""
    number = 0
    while True:
        units: list[bytes] = []
        length = len(head) + len(tail)
        while not units or length < size:
            number += 1
            units.append(unit.replace(b"#", b"%x" % number))
            length += len(units[-1]) + 1
        yield event(head + b",".join(units) + tail)


def peak(reads: Iterator[bytes], size: int) -> tuple[float, Outcome[Any]]:
    """Return the bytes of memory that were held at the most, for each that was fed."""
    data = []
    total = 0
    for read in reads:
        data.append(read)
        total += len(read)
        if total >= size:
            break
    accumulator = Accumulator()
    tracemalloc.start()
    try:
        for read in data:
            accumulator.feed(read)
        outcome = accumulator.finish()
        return tracemalloc.get_traced_memory()[1] / total, outcome
    finally:
        tracemalloc.stop()


_DELTA: Final = b'{"choices":[{"delta":{'
_HELD: Final[dict[str, tuple[bytes, bytes, bytes]]] = {
    "annotations of {}": (_DELTA + b'"annotations":[', b"{}", b"]}}]}"),
    "annotations of objects": (_DELTA + b'"annotations":[', b'{"":0}', b"]}}]}"),
    "images of objects": (_DELTA + b'"images":[', b'{"":[]}', b"]}}]}"),
    "content of {}": (_DELTA + b'"content":[', b"{}", b"]}}]}"),
    "parts": (_DELTA + b'"content":[', b'{"type":"#","text":"a"}', b"]}}]}"),
    "an unknown list of []": (_DELTA + b'"x":[', b"[]", b"]}}]}"),
    "an unknown list of numbers": (_DELTA + b'"x":[', b"9", b"]}}]}"),
    "reasoning details": (
        _DELTA + b'"reasoning_details":[',
        b'{"index":"#"}',
        b"]}}]}",
    ),
    "executed tools": (_DELTA + b'"executed_tools":[', b'{"index":"#"}', b"]}}]}"),
    "thinking blocks": (_DELTA + b'"thinking_blocks":[', b'{"index":"#"}', b"]}}]}"),
    "keys with texts": (_DELTA, b'"#":"x"', b"}}]}"),
    "keys with numbers": (_DELTA, b'"#":1', b"}}]}"),
    "keys with lists": (_DELTA, b'"#":[]', b"}}]}"),
    "keys of the top": (b"{", b'"#":1', b',"choices":[]}'),
    "keys of a choice": (b'{"choices":[{', b'"#":1', b"}]}"),
    "keys of a usage": (b'{"choices":[],"usage":{', b'"#":1', b"}}"),
    "keys of a call": (_DELTA + b'"tool_calls":[{"id":"a",', b'"#":1', b"}]}}]}"),
    "keys of logprobs": (b'{"choices":[{"logprobs":{', b'"#":[]', b"}}]}"),
    "names of a call": (
        _DELTA + b'"tool_calls":[',
        b'{"index":0,"function":{"name":"#"}}',
        b"]}}]}",
    ),
    "calls": (_DELTA + b'"tool_calls":[', b'{"index":"#","id":"#"}', b"]}}]}"),
    "choices": (b'{"choices":[', b'{"index":"#"}', b"]}"),
    "keys that change": (b"{", b'"#":[{},{},{},{}]', b',"choices":[]}'),
}
# Bytes that a byte may hold, and what may be held before that is asked.
EACH: Final = 20
FREE: Final = 4 * MIB


@pytest.mark.parametrize("name", _HELD)
@pytest.mark.parametrize("size", [280, 60_000], ids=["small", "large"])
def test_no_byte_holds_more_than_twenty(name: str, size: int) -> None:
    fed = MIB
    held, outcome = peak(filled(*_HELD[name], size), fed)
    assert held < EACH + FREE / fed
    if outcome.ending is not Ending.LIMIT:
        assert outcome.limit is None


@pytest.mark.parametrize("name", ["annotations of {}", "keys with texts", "parts"])
def test_what_would_hold_more_is_refused(name: str) -> None:
    """Sixteen MiB, of which the first version made 2.8 GiB."""
    held, outcome = peak(filled(*_HELD[name], 16 * MIB), 16 * MIB)
    assert held < 3
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "held_bytes")


@pytest.mark.parametrize(
    "inner",
    [
        b'{"annotations":[' + b"{}," * 300_000 + b"{}]}",
        b'{"content":' + json.dumps([{"type": "x"}] * 100_000).encode() + b"}",
    ],
    ids=["annotations", "parts"],
)
def test_a_body_is_refused_as_well(inner: bytes) -> None:
    body = b'{"object":"chat.completion","choices":[{"message":' + inner + b"}]}"
    held, outcome = peak(iter([body]), len(body))
    assert held < 4
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "held_bytes")


def test_text_takes_what_it_is_long() -> None:
    one = stream(chunk({"content": "x" * 1000, "reasoning": "y" * 1000}))
    held, outcome = peak(iter([one] * 1000), 10 * MIB)
    assert outcome.limit is None
    assert held < 6  # it grows, is copied and put into the completion


def test_small_reads_of_a_long_line_take_what_they_are_long() -> None:
    held, _ = peak(iter([b"x"] * 200_000), 200_000)
    assert held < 6


# --- What is left behind --------------------------------------------------------------

EXAMPLES: Final = sorted((Path(__file__).parents[1] / "examples").glob("*.sse"))


@pytest.mark.parametrize("way", ["plain", "events", "clock"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.stem))
def test_a_stream_leaves_nothing_to_the_collector(path: Path, way: str) -> None:
    """A cycle would hold a whole answer until the collector comes by."""
    data = path.read_bytes()

    def fold_it() -> None:
        accumulator = Accumulator(
            protocol=unstream.ANY,
            events=way == "events",
            clock=time.monotonic if way == "clock" else None,
        )
        accumulator.feed(data)
        assert accumulator.finish().ending == "complete"

    fold_it()  # what is made once a process is made
    gc.collect()
    gc.disable()
    try:
        fold_it()
        assert gc.collect() == 0
    finally:
        gc.enable()
