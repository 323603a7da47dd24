"""Streams as servers send them, and worse: what the laws are held against.

A law guards only what its strategy can produce, so the pools below hold habits of
servers, and beside every habit values of the wrong type. Most draws are picks from a
pool: that is quick, and shrinks to something readable.
"""

import gc
import json
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from itertools import cycle
from typing import Any, Final, TypeAlias

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from unstream import Accumulator, ChatCompletion, Limits, Logprobs, Outcome
from unstream._protocol import Fold, Protocol
from unstream._rules import CHANGED, DROPPED, HELD, Rule, State, settle
from unstream.chat import PROTOCOL
from unstream.chat._fold import ChatFold

Json: TypeAlias = Any

# --- Values ---------------------------------------------------------------------------

_SCALARS: Final[Sequence[Json]] = (
    *(None, True, False, 0, -1, 7, 1.5, 1e300, 2**63, 10**30),
    *("", "x", "null", "0", "é", "\ud83d", "\x00\x1b"),
)
_KEYS: Final = (
    *("", "a", "extra", "*extra", "*absent", "_absent", "index", "id", "type", "text"),
    *("é", "\ud83d", 'a"b', "a\nb"),
)


def _inside(inner: SearchStrategy[Json]) -> SearchStrategy[Json]:
    return st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(_KEYS), inner, max_size=3
    )


values: Final = st.recursive(st.sampled_from(_SCALARS), _inside, max_leaves=5)

# What breaks a text where it is cut: quotes, escapes, halves of a character.
_PIECES: Final = (
    *("", " ", "a", "Hello", "é", "😀", '"', "\\", "\\\\", '\\"', '":"', "},{", "\\u"),
    *("\n", "\n\n", "\r", "\u2028", "\x00", "\x7f", "{}", "[DONE]", "data: ", "x" * 40),
    *("\ud83d", "\ude00", "a\ud83d", "\ude00b", "\ude00\ud83d", "\\ud83d", "null"),
)
pieces: Final = st.sampled_from(_PIECES) | st.text(max_size=4)

Field: TypeAlias = SearchStrategy[tuple[str, Json]]


def _field(name: str, *pool: Json) -> Field:
    """Give a key with a value of the pool, or, one time in six, of any kind."""
    usual = st.sampled_from(pool * 5 if len(pool) < 9 else pool)
    return st.tuples(st.just(name), usual | usual | usual | usual | usual | values)


def _texts(name: str) -> Field:
    return st.tuples(st.just(name), pieces | pieces | pieces | pieces | values)


def _some(*fields: Field, size: int = 4) -> SearchStrategy[dict[str, Json]]:
    """Make an object of a few of the fields; the last of a name is the one."""
    return st.lists(st.one_of(*fields), max_size=size).map(dict)


def _field_of(name: str, value: SearchStrategy[Json]) -> Field:
    return st.tuples(st.just(name), value | value | value | value | values)


_stranger: Final[Field] = st.tuples(
    st.sampled_from(
        (
            *("x", "extra", "*extra", "*absent", "", "status", "message", "text", "é"),
            *('a"b', "a\\b", "\x01"),
        )
    ),
    values | pieces,
)
_padding: Final = _field("obfuscation", "", "x7Gq", "p")


# --- Chunks ---------------------------------------------------------------------------

_INDEXES: Final = (0, 0, 0, 1, 1, 2, -1, None, "0", "1", 1.0, 7, 10**9, 10**30, True)

_call: Final = _some(
    _field("index", *_INDEXES),
    _field("index", 0, 1, None),
    _field("id", "call_1", "call_2", "", None, "null", "0"),
    _field("type", "function", "custom", "", None),
    _field_of(
        "function",
        _some(
            _field("name", "find", "fi", "nd", "weather", "", None),
            _texts("arguments"),
            _field("arguments", "", '{"a":', "1}", None, {}, {"a": [1, "é"]}),
            _stranger,
        ),
    ),
    _field_of(
        "custom",
        _some(_field("name", "grep", ""), _texts("input"), _field("input", {}, None)),
    ),
    _field(
        "extra_content",
        {"google": {"thought_signature": "s"}},
        {"google": {"n": None}},
        None,
    ),
    _stranger,
    size=6,
)
_part: Final = _some(
    _field("type", "text", "text", "thinking", "image_url", "reasoning", None),
    _texts("text"),
    _field(
        "thinking",
        [{"type": "text", "text": "hm"}],
        [{"type": "text", "text": "\ud83d"}, 5],
        [],
    ),
    _field("summary", [{"type": "summary_text", "text": "so", "signature": "s"}]),
    _field("image_url", {"url": "data:"}),
)
_detail: Final = _some(
    _field("type", "reasoning.text", "reasoning.summary", "reasoning.encrypted", None),
    _field("index", *(0, 0, 1, None, 1.0, True)),
    _field("id", "r1", "r2", "", None),
    _texts("text"),
    _texts("summary"),
    _texts("data"),
    _field("signature", "sig", None, ""),
    _field("format", "f-v1", None),
    size=6,
)
_audio: Final = _some(
    _field("id", "audio_1", "", None),
    _field("data", "QQ==", "QUI=", "QUJD", "=", "é=x", "Q=", "\ud83d=="),
    _texts("transcript"),
    _field("expires_at", 1700000000, None),
    _stranger,
)
_function: Final = _some(
    _field("name", "find", "", None), _texts("arguments"), _field("arguments", 5, {})
)
_BLOCKS: Final[Sequence[Json]] = (
    [{"type": "thinking", "thinking": "a"}],
    [{"type": "thinking", "thinking": "b", "signature": "s"}],
    [{"type": "thinking", "thinking": "c", "index": 0}, {"index": 1, "data": "d"}],
    [{"type": "redacted_thinking", "data": "x"}],
    [5, {}],
)
_PROVIDER_FIELDS: Final[Sequence[Json]] = (
    {"citation": {"url": "u"}},
    {"thinking_blocks": _BLOCKS[0], "x": [1]},
    {"x": [2], "y": {"z": None}, "n": 1},
    {},
)
delta_fields: Final = (
    _texts("content"),
    _field("content", None, "", "a", "b"),
    _field_of("content", st.lists(_part | pieces, max_size=3)),
    _field("role", "assistant", "", None, "tool"),
    _texts("refusal"),
    _texts("reasoning_content"),
    _texts("reasoning"),
    _field_of("reasoning_details", st.lists(_detail, max_size=2) | _detail),
    _field_of("tool_calls", st.lists(_call | _call | values, max_size=3) | _call),
    _field_of("tool_calls", st.lists(_call, min_size=1, max_size=2)),
    _field_of("function_call", _function),
    _field_of("audio", _audio),
    _field("annotations", [], [{"type": "url_citation"}], {"type": "x"}, [5, None]),
    _field("images", [{"type": "image_url", "index": 0}], []),
    _field(
        "executed_tools",
        [{"index": 0, "type": "search"}],
        [{"index": 0, "output": "o"}, {"index": 1}],
        [5, {"x": 1}],
        [{"index": None}],
    ),
    _field("thinking_blocks", *_BLOCKS),
    _field("provider_specific_fields", *_PROVIDER_FIELDS),
    _field("plan", {"a": 1}, {"b": {"c": ""}}, {"b": {"c": "d"}}, {}),
    _field("token_id", 5, 6),
    _field("channel", "analysis", "final"),
    _padding,
    _stranger,
)
deltas: Final = _some(*delta_fields)

_token: Final = _some(
    _field("token", "a", "\ud83d", ""),
    _field("logprob", -0.1, 0, -1e300),
    _field("bytes", [97], None, ["x"]),
    _field(
        "top_logprobs",
        [{"token": "a", "logprob": -0.1, "bytes": None}],
        [],
        None,
        [{"x": 1}],
    ),
    _stranger,
)
_logprobs: Final = _some(
    _field_of("content", st.lists(_token, max_size=2)),
    _field("content", None, []),
    _field_of("refusal", st.lists(_token, max_size=2)),
    _field("reasoning_content", None, [{"token": "a", "logprob": -1}]),
    _field("tokens", ["a"], None),
)
_filters: Final[Sequence[Json]] = (
    {},
    {"hate": {"filtered": False, "severity": "safe"}},
    {"hate": {"filtered": None}, "jailbreak": {"detected": True}},
)
_details: Final = st.sampled_from(
    (
        {"reasoning_tokens": 3},
        {"reasoning_tokens": None, "audio_tokens": 0},
        {"text_tokens": "5", "image": {"n": None, "m": 1}},
        {},
    )
)
usages: Final = _some(
    _field("prompt_tokens", 1, 2, 0, None),
    _field("completion_tokens", 1, 20, None),
    _field("total_tokens", 3, 22, 1.0),
    _field_of("completion_tokens_details", _details),
    _field_of("prompt_tokens_details", _details),
    _stranger,
)
REASONS: Final = ("stop", "stop", "tool_calls", "length", "function_call", "", None)
choices: Final = _some(
    _field_of("delta", deltas),
    _field_of("delta", deltas),
    _field_of("delta", deltas),
    _field("index", *_INDEXES),
    _field("index", 0, 1, 2),
    _field("finish_reason", *REASONS),
    _field("native_finish_reason", "STOP", None),
    _field("stop_reason", None, 7),
    _field_of("logprobs", _logprobs),
    _field("content_filter_results", *_filters),
    _field("token_ids", [1, 2], [], None),
    _field("message", {"role": "assistant", "content": "twin"}),
    _field("text", "a", ""),
    _field_of("usage", usages),
    _padding,
    _stranger,
    size=5,
)
_choice_field: Final = _field_of(
    "choices", st.lists(choices | choices | values, max_size=3) | choices
)
IDS: Final = ("chatcmpl-1", "chatcmpl-2", "", None, "stub")
chunks: Final = _some(
    _choice_field,
    _choice_field,
    _choice_field,
    _field("id", *IDS),
    _field("object", "chat.completion.chunk", "", "chat.completion.done"),
    _field("created", 1700000000, 0, 1700000000.5, None),
    _field("model", "m-1", "", None, "m-2"),
    _field("service_tier", "default", "auto", None),
    _field("system_fingerprint", "fp_1", "fp_2", None),
    _field_of("usage", usages),
    _field("usage", None),
    _field(
        "x_groq",
        {"id": "req_1"},
        {"usage": {"total_tokens": 9}},
        {"usage": None, "seed": 1},
    ),
    _field("moderation", {"input": {"results": []}}, None, ""),
    _field("citations", ["a"], ["a", "b"]),
    _field("provider", "P", None),
    _field("error", None, None, "", {}),
    _field("p", "abc"),
    _padding,
    _stranger,
    size=6,
)


def _say(piece: str) -> Json:
    return {"content": piece}


# Where a run of events that look alike puts its text.
_PLACES: Final[Sequence[Callable[[str], Json]]] = (
    _say,
    lambda piece: {"role": "assistant", "content": piece},
    lambda piece: {"reasoning_content": piece},
    lambda piece: {"content": "", "reasoning": piece},
    lambda piece: {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]},
    lambda piece: {
        "tool_calls": [
            {
                "index": 1,
                "id": "call_1",
                "type": "function",
                "function": {"name": "find", "arguments": piece},
            }
        ]
    },
    lambda piece: {
        "reasoning": piece,
        "reasoning_details": [{"type": "reasoning.text", "text": piece, "index": 0}],
    },
    lambda piece: {"content": piece, "refusal": piece},
    lambda piece: {"content": [{"type": "text", "text": piece}]},
    lambda piece: {"thought": piece},
    lambda piece: {"tool_calls": [{"function": {"arguments": piece}}]},
    lambda piece: {"tool_calls": [{"index": 0, "custom": {"input": piece}}]},
    lambda piece: {
        "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": piece}}]
    },
)
# What stands between them, and may change what the next one does.
_BETWEEN: Final[Sequence[Json]] = (
    {"choices": []},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [{"index": 1, "delta": {}, "finish_reason": "tool_calls"}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call_2"}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"function": {"name": "g"}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{}"}}]}}]},
    {"choices": [{"delta": {"content": ["part"]}}]},
    {"choices": [{"delta": {}, "usage": {"total_tokens": 1}}]},
    {"usage": {"total_tokens": 2}},
    {"id": "chatcmpl-2", "x": 1},
)


@st.composite
def _runs(draw: DrawFn) -> list[Json]:
    """Draw events that differ in little more than their texts, as most do."""
    place = draw(st.sampled_from(_PLACES))
    indexes = cycle(draw(st.sampled_from(((0,), (0,), (1, 0), (0, 1, 2), (0, 0, 1)))))
    top: dict[str, Json] = draw(
        st.sampled_from(
            (
                {},
                {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m"},
                {"id": "chatcmpl-1", "service_tier": "default", "usage": None},
                {"provider": "P", "system_fingerprint": "fp_1"},
            )
        )
    )
    padded = draw(st.booleans())
    texts = draw(st.lists(pieces, min_size=2, max_size=10))
    run: list[Json] = []
    for index, piece in zip(indexes, texts, strict=False):
        choice = {"index": index, "delta": place(piece), "finish_reason": None}
        padding = {"obfuscation": piece[::-1]} if padded else {}
        run.append({**top, "choices": [choice], **padding})
    between = st.tuples(st.integers(0, 12), st.sampled_from(_BETWEEN))
    for at, other in draw(st.lists(between, max_size=2)):
        run.insert(at, other)
    return run


def _joined(lists: Iterable[list[Json]]) -> list[Json]:
    return [item for one in lists for item in one]


_few: Final = st.lists(chunks, min_size=1, max_size=3)
chunk_lists: Final = st.lists(_few | _runs(), max_size=4).map(_joined)
"""Parsed chunks in any order and of any type; see `streams` for their bytes."""


# --- Payloads -------------------------------------------------------------------------

_ERRORS: Final = (
    b'{"error":{"message":"out of memory","type":"server_error","code":500}}',
    b'{"error":"overloaded","error_type":"overloaded"}',
    b'{"error":{"message":"late"},"choices":[{"delta":{"content":"x"}}]}',
    b'{"object":"error","message":"no","code":400}',
    b'{"x_groq":{"id":"r","error":"down"}}',
    b'{"error":true}',
    b'{"detail":"no such model"}',
    b"Traceback: boom",
    b"null",
    b'"\\ud83d"',
    b'["\\ud83d",1e400]',
)
_ODD: Final = (
    b"[DONE]",
    b"[DONE]",
    b" [DONE]\t",
    b"",
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"{}",
    b'{"choices":[{"delta":{"content":"cut',
    b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
    b'{"choices":[{"delta":{"content":"\xf0\x9f\x98"}}]}',
    b'{"choices":[{"delta":{"content":"\xff\xfe"}}]}',
    b'{"choices":[{"delta":{"content":"\x01"}}]}',
    b'{"choices":[{"delta":{"content":"a","content":"b"}}],"choices":[]}',
    b'{"choices":[{"delta":{"content":"a","content":"b"}}]}',
    b'{"choices":[{"index":NaN,"delta":{}}]}',
    b'{"usage":{"total_tokens":1e400}}',
    b'{"choices":[],"usage":{"total_tokens":1e400}}',
    b'{"choices":[],"usage":{"\xff":"\\ud83d"}}',
    b'{"choices":[],"usage":{"x":' + b"[" * 160 + b"]" * 160 + b"}}",
    b'{"usage":{"total_tokens":' + b"9" * 30 + b"}}",
    b'{"usage":{"total_tokens":' + b"9" * 5000 + b"}}",
    b'{"type":"ping"}',
    b'{"type":"content_block_delta","index":0,"delta":{"text":"x"}}',
    b'{"note":"neither choice nor id"}',
    b'{"choices":[{"index":0,"text":"old"}]}',
    b'{"choices":[{"index":0,"text":"older"}]}',
    b'{"choices":[{"logprobs":{"\\ud83d":[1],"content":[]}}]}',
    b'{"type":"ping","choices":[{"delta":{"content":"no ping"}}]}',
    b'{"\\ud83d":"half a key","choices":[]}',
    b'{"x":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"choices":[{"delta":{"content":"a"}}]}\n{"usage":{"total_tokens":1}}',
    b'{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}\n[DONE]',
    b'{"choices":[{"delta":\n{"content":"a"}}]}',
)


@st.composite
def _written(draw: DrawFn) -> list[bytes]:
    """Draw payloads in the order of one stream: chunks, and what stands between."""
    ascii_only = draw(st.booleans())
    separators = draw(st.sampled_from(((",", ":"), (", ", ": "))))
    written: list[bytes] = []
    for chunk in draw(chunk_lists):
        text = json.dumps(chunk, ensure_ascii=ascii_only, separators=separators)
        # A lone surrogate that is not escaped makes invalid UTF-8.
        written.append(text.encode("utf-8", "surrogatepass"))
    odd = st.tuples(st.integers(0, 12), st.sampled_from(_ODD + _ODD + _ERRORS))
    for place, payload in draw(st.lists(odd, max_size=3)):
        written.insert(place, payload)
    return written + draw(st.sampled_from(([], [b"[DONE]"])))


# --- Bytes ----------------------------------------------------------------------------

_PLAIN: Final = b"data: %b\n\n"
_FRAMES: Final = (
    b"data:%b\n\n",
    b"data:  %b\n\n",
    b"data: %b\n",  # run together with the next
    b"data: %b\n\n\n\n",
    b": OPENROUTER PROCESSING\n\ndata: %b\n\n",
    b"data: %b\n: keep-alive\n\n",
    b"event: chunk\nid: 7\ndata: %b\n\n",
    b"event: error\ndata: %b\n\n",
    b"error: %b\n\n",
    b"retry: 100\nid\ndata: %b\n\n",
    b"data: \ndata: %b\n\n",
    b"data\n\ndata: %b\n\n",
    b"id: \x00\nunknown: x\nevent\ndata: %b\n\n",
    b"%b\n",
)


def frame(payloads: Iterable[bytes]) -> bytes:
    """Write payloads as events, the usual way."""
    return b"".join(_PLAIN % payload for payload in payloads)


@st.composite
def _events(draw: DrawFn) -> bytes:
    body = draw(st.sampled_from((b"", b"", b"", b"\xef\xbb\xbf", b"\n", b": hi\n\n")))
    odd = dict(
        draw(
            st.lists(
                st.tuples(st.integers(0, 12), st.sampled_from(_FRAMES)), max_size=3
            )
        )
    )
    for place, payload in enumerate(draw(_written())):
        # Data of several lines, as `frame` would write it, or torn as servers do.
        torn = payload if place in odd else payload.replace(b"\n", b"\ndata: ")
        body += odd.get(place, _PLAIN) % torn
    ends = draw(
        st.sampled_from(
            (
                *((b"\n",) * 4,) * 4,
                (b"\r\n",) * 4,
                (b"\r",) * 4,
                (b"\n", b"\r\n", b"\r", b"\r"),
                (b"\r\n", b"\n", b"\n", b"\r"),
            )
        )
    )
    if ends[0] == ends[-1] == b"\n":
        return body
    lines = body.split(b"\n")
    mixed = zip(lines, cycle(ends), strict=False)
    return b"".join(line + end for line, end in mixed)


DAMAGE: Final[Sequence[Callable[[bytes, int, int], bytes]]] = (
    lambda body, at, _: body[:at],
    lambda body, at, _: body[:at] + body[at + 1 :],
    lambda body, at, byte: body[:at] + body[at + byte :],
    lambda body, at, byte: body[:at] + bytes([byte]) + body[at + 1 :],
    lambda body, at, byte: body[:at] + bytes([byte]) + body[at:],
    lambda body, at, byte: body[: at + byte] + body[at:],
    lambda body, at, _: body[:at] + b"\n\n" + body[at:],
)


@st.composite
def damaged(draw: DrawFn, bodies: SearchStrategy[bytes]) -> bytes:
    """Damage one of the bodies in up to three places."""
    body = draw(bodies)
    edits = st.tuples(
        st.sampled_from(DAMAGE), st.integers(0, 4000), st.integers(0, 255)
    )
    for edit, at, byte in draw(st.lists(edits, min_size=1, max_size=3)):
        body = edit(body, at % (len(body) + 1), byte)
    return body


_BODIES: Final = (
    b"",
    b"\xef\xbb\xbf",
    b"\xef\xbb",
    b"\xef{}",
    b"<html>\n<body>502</body>\n\n</html>",
    b'{"error":{"message":"no"}}',
    b'\n {"error":\r\n {"message":"no"}}\n\n',
    b'{"id":"w","choices":[{"message":{"content":"\\ud83d \xff"},"index":0}]}',
    b'{"object":"chat.completion","choices":[{"finish_reason":"stop"}]}',
    b'\xef\xbb\xbf{"choices":[{"message":{"content":"whole"}}],\n"usage":{"x":1}}',
    b'{"choices":[{"message":{"content":"cut',
    b'{"id":"w","choices":[{"delta":{"content":"bare chunk"}}]}\n',
    b'{"choices":[5]}',
    b"[]",
    b"[DONE]",
    b"data: ",
    b"data",
    b"\r" * 9,
)
_GRAINS: Final = (
    *(b"data", b":", b"data:", b"data: ", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x"),
    *(b"event: error", b"error:", b"id: 1", b"id:\x00", b"retry: 5", b"retry:0x", b"{"),
    *(b'{"choices":[]}', b"[DONE]", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xa9", b":c"),
    *(b"event:", b"id", b"retry: 08", b"data:\n"),
)
grains: Final = st.lists(st.sampled_from(_GRAINS), max_size=24).map(b"".join)
"""Bytes made of what the grammar of event streams is made of."""

streams: Final = st.one_of(
    _events(),
    _events(),
    _events(),
    damaged(_events()),
    st.sampled_from(_BODIES),
    grains,
)
"""The bytes of a response, whatever it may be."""

tiny_limits: Final = st.builds(
    Limits,
    event_bytes=st.integers(1, 300),
    stream_bytes=st.integers(1, 1500),
    held_bytes=st.integers(1, 5000),
    choices=st.integers(1, 2),
    tool_calls=st.integers(1, 2),
)
limits: Final = st.just(Limits()) | st.just(Limits()) | tiny_limits

sizes: Final = st.one_of(
    st.just([1]),
    st.just([16]),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.lists(st.integers(0, 2000), min_size=1, max_size=4).filter(any),
)
"""The sizes of reads, used over and over; see `cut`."""


def cut(body: bytes, into: Iterable[int]) -> list[bytes]:
    """Cut bytes into reads."""
    reads = []
    at = 0
    for size in cycle(into):
        if at >= len(body):
            break
        reads.append(body[at : at + size])
        at += size
    return reads


def fold_reads(
    reads: Iterable[bytes],
    *,
    protocol: Protocol[Any] = PROTOCOL,
    limits: Limits | None = None,
    fast: bool = True,
    look: bool = False,
) -> Outcome[Any]:
    """Feed the reads and return the verdict; with `look`, look after each."""
    accumulator = Accumulator(protocol=protocol, limits=limits, fast=fast)
    for data in reads:
        accumulator.feed(data)
        if look:
            accumulator.snapshot()
    return accumulator.finish()


def vandalise(value: Any) -> None:
    """Change everything that can be changed in place."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            vandalise(getattr(value, name))
            setattr(value, name, None)
    elif isinstance(value, Logprobs):
        value.lists.clear()
    elif isinstance(value, dict):
        for inner in value.values():
            vandalise(inner)
        value.clear()
        value["vandal"] = 1
    elif isinstance(value, list):
        for inner in value:
            vandalise(inner)
        value.append("vandal")


def check_looks(
    reads: Iterable[bytes],
    want: Outcome[Any],
    *,
    protocol: Protocol[Any] = PROTOCOL,
    limits: Limits | None = None,
) -> None:
    """Look after each read, spoil what was seen, and hold the end against `want`."""
    accumulator = Accumulator(protocol=protocol, limits=limits)
    accumulator.snapshot()
    last = ""
    for data in reads:
        accumulator.feed(data)
        seen = accumulator.snapshot()
        told = repr(seen)
        if seen is not None and told != last:
            last = told
            assert accumulator.has_content in (True, False)
            seen.to_dict()
            vandalise(seen)
            assert repr(accumulator.snapshot()) == told
    assert repr(accumulator.finish()) == repr(want)


class _PlainFold(ChatFold):
    """A fold that takes every event by the tables, and remembers none."""

    take = Fold.take

    def add(
        self, sent: dict[str, Json], data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        # What was remembered of the last event spares the next one the tables.
        self._seen = self._plain = None
        for choice in self._choices.values():
            choice.seen = None
        super().add(sent, data, name, exact=exact)


_PLAINLY: Final = msgspec.structs.replace(PROTOCOL, fold=_PlainFold)


def fold_plainly(
    body: bytes, *, limits: Limits | None = None
) -> Outcome[ChatCompletion]:
    """Fold by the ordinary road alone: what any other road must agree with."""
    accumulator = Accumulator(protocol=_PLAINLY, limits=limits, fast=False)
    accumulator.feed(body)
    outcome = accumulator.finish()
    if outcome.foreign == PROTOCOL.name:  # it takes itself for another
        outcome = msgspec.structs.replace(outcome, foreign=None)
    return outcome


def stream(*sent: Json) -> bytes:
    """Write objects as events; bytes and strings stand for themselves."""
    return frame(
        one
        if isinstance(one, bytes)
        else (one if isinstance(one, str) else json.dumps(one)).encode()
        for one in sent
    )


def chunk(delta: Json = None, **beside: Json) -> dict[str, Json]:
    """Make a chunk of one choice: its delta, and what stands beside it."""
    choice = {"index": 0, **({} if delta is None else {"delta": delta}), **beside}
    return {"choices": [choice]}


def outcome_of(*sent: Json, limits: Limits | None = None) -> Outcome[ChatCompletion]:
    """Fold objects that are written as events."""
    return fold_reads([stream(*sent)], limits=limits)


def folded(*sent: Json) -> dict[str, Json]:
    """Fold objects that are written as events to the dict of their completion."""
    completion = outcome_of(*sent).completion
    assert completion is not None
    return completion.to_dict()


def message_of(*sent_deltas: Json) -> dict[str, Json]:
    """Fold deltas of one choice to the dict of its message."""
    message: dict[str, Json]
    message = folded(*map(chunk, sent_deltas))["choices"][0]["message"]
    return message


def strict(value: Json) -> Json:
    """Tell true from 1, which Python does not; 1.0 is 1, as in JSON."""
    if isinstance(value, dict):
        return {key: strict(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [strict(inner) for inner in value]
    return ("boolean", value) if isinstance(value, bool) else value


def check_deed(rule: Rule, state: State, key: str, value: Json) -> None:
    """Apply a rule, and hold what it did against what it says of it."""
    before, sent = repr(settle(state)), json.dumps(value)
    did = rule(state, key, value)
    after = repr(settle(state))
    assert json.dumps(value) == sent
    if did is None or did is DROPPED:
        assert after == before
        assert rule(state, key, value) is did
        assert repr(settle(state)) == before
        if did is DROPPED:
            assert isinstance(value, str)
            assert rule(state, key, value + "x") is DROPPED
    elif did is not CHANGED and did is not HELD:
        _, text, sink = did if isinstance(did, tuple) else (key, value, did)
        assert isinstance(sink, StringIO)
        whole = sink.getvalue()
        text = text if isinstance(text, str) else json.dumps(text)  # `content: 5`
        assert whole.endswith(text)
        _rewrite(sink, whole[: len(whole) - len(text)])
        assert repr(settle(state)) == before  # and nothing else was done
        _rewrite(sink, whole)
        again = rule(state, key, value)
        assert again == did  # the same would do the same
        _rewrite(sink, whole)
    assert repr(settle(state)) == after


def _rewrite(text: StringIO, whole: str) -> None:
    text.seek(0)
    text.truncate()
    text.write(whole)


def check_saved(outcome: Outcome[ChatCompletion]) -> None:
    """Save an outcome in every way there is, and load it again."""
    saved = outcome.to_json()
    plain = outcome.to_dict()
    assert repr(json.loads(saved)) == repr(json.loads(json.dumps(plain)))
    for loaded in (Outcome.from_json(saved), Outcome.from_dict(plain)):
        assert loaded == outcome
        assert repr(loaded.to_dict()) == repr(plain)
        assert loaded.calls == outcome.calls
    assert pickle.loads(pickle.dumps(outcome)) == outcome  # noqa: S301 - our own
    completion = outcome.completion
    if completion is not None:
        whole = completion.to_dict()
        for again in (
            ChatCompletion.from_json(completion.to_json()),
            ChatCompletion.from_json(json.dumps(whole)),
            ChatCompletion.from_dict(whole),
        ):
            assert again == completion
            assert repr(again.to_dict()) == repr(whole)


def cost(work: Callable[[], object]) -> float:
    """Return the least CPU seconds of three runs."""
    best = float("inf")
    gc.collect()
    gc.disable()  # its passes depend on what other tests left behind
    try:
        for _ in range(3):
            start = time.process_time()
            work()
            best = min(best, time.process_time() - start)
    finally:
        gc.enable()
    return best
