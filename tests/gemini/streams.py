"""Streams of Gemini as servers send them, and worse: what the laws are held against.

A law guards only what its strategy can produce: the pools hold the habits of servers,
and beside every habit values of the wrong type.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests import strategies
from unstream import Limits
from unstream.gemini import PROTOCOL

Json: TypeAlias = Any

# --- Values ---------------------------------------------------------------------------

_SCALARS: Final[Sequence[Json]] = (
    *(None, True, False, 0, 1, -1, 1.0, 1.5, 2**63, 10**30),
    *("", "x", "null", "é", "\ud83d", "\x00\x1b"),
)


def _inside(inner: SearchStrategy[Json]) -> SearchStrategy[Json]:
    keys = st.sampled_from(("", "a", "text", "parts", "name", "é", "\ud83d"))
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


values: Final = st.recursive(st.sampled_from(_SCALARS), _inside, max_leaves=5)

# What breaks a text where it is cut: quotes, escapes, halves of a character.
pieces: Final = st.sampled_from(
    (
        *(
            "",
            " ",
            "a",
            "Hello",
            "é",
            "😀",
            '"',
            "\\",
            "\\\\",
            '\\"',
            "},{",
            "]",
            "\\u",
        ),
        *("\n", "\n\n", "\r", "\u2028", "{}", "[DONE]", "data: ", "\ud83d", "\ude00"),
    )
)

Field: TypeAlias = SearchStrategy[tuple[str, Json]]


def _field(name: str, value: SearchStrategy[Json]) -> Field:
    """Give a key with a fitting value, or, one time in eight, one of any kind."""
    return st.tuples(st.just(name), st.one_of(*[value] * 7, values))


def _object(*fields: Field, size: int = 4) -> SearchStrategy[dict[str, Json]]:
    return st.lists(st.one_of(*fields), max_size=size).map(dict)


def _one_of(*pool: Json) -> SearchStrategy[Json]:
    return st.sampled_from(pool)


_stranger: Final[Field] = st.tuples(_one_of("x", "status", "note", "é"), values)

# --- Responses ------------------------------------------------------------------------

_signature: Final = _field("thoughtSignature", _one_of("", "UzE=", "UzI=", None))
_thought: Final = _field("thought", st.sampled_from((True, True, False, None)))
_text: Final = st.builds(
    lambda text, rest: {"text": text, **dict(rest)},
    pieces,
    st.lists(st.one_of(_signature, _thought), max_size=1),
)
_piece: Final = _object(
    _field(
        "jsonPath",
        _one_of(
            "$.a", "$.a", "$.a[0]", "$.a[1]['b']", "$", "$..a", "$.a.b", "a", "$[0]"
        ),
    ),
    _field("stringValue", pieces),
    _field("numberValue", _one_of(1, 2.5)),
    _field("boolValue", st.booleans()),
    _field("nullValue", _one_of(None, "NULL_VALUE")),
)
_call: Final = _object(
    _field("name", _one_of("f", "f", "g", "")),
    _field("args", _one_of({}, {"a": 1}, {"a": {"b": "c"}}, {"b": [1]})),
    _field("willContinue", st.sampled_from((True, True, True, False))),
    _field("partialArgs", st.lists(_piece, max_size=2)),
    _field("id", _one_of("c1", "c2")),
)
_part: Final = st.one_of(
    *[_text] * 4,
    st.builds(lambda call: {"functionCall": call}, _call),
    st.builds(lambda call: {"functionCall": call}, _call),
    _one_of(
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"functionCall": {}},
        {},
    ),
    _object(_field("text", pieces), _signature, _thought, _stranger),
    values,
)
_content: Final = _object(
    *[_field("parts", st.lists(_part, max_size=3))] * 4,
    _field("role", _one_of("model", "")),
    _stranger,
)
_lists: Final = _object(
    _field("citations", st.lists(_one_of({"uri": "u"}, {"uri": "v"}), max_size=2)),
    _field("chosenCandidates", st.lists(_one_of({"token": "t"}), max_size=2)),
    _stranger,
    size=2,
)
_candidate: Final = _object(
    *[_field("content", _content)] * 4,
    *[_field("index", _one_of(0, 0, 0, 1, 2, -1, None, 1.0, "1", 10**30))] * 2,
    _field("finishReason", _one_of("STOP", "STOP", "MAX_TOKENS", "", 0, 1, None)),
    _field("finishReason", _one_of("FINISH_REASON_UNSPECIFIED", "STOP")),
    _field("citationMetadata", _lists),
    _field("logprobsResult", _lists),
    _field("groundingMetadata", _one_of({}, {"webSearchQueries": ["q"]})),
    _field("avgLogprobs", _one_of(-0.5, 0)),
    _stranger,
)
_usage: Final = _object(
    _field("promptTokenCount", _one_of(5, 0, None)),
    _field("totalTokenCount", _one_of(7, 9, None)),
    _field("trafficType", _one_of("ON_DEMAND")),
    _stranger,
)
_response: Final = _object(
    *[_field("candidates", st.lists(_candidate, max_size=2))] * 4,
    _field("usageMetadata", _usage),
    _field("responseId", _one_of("r1", "r2", "")),
    _field("modelVersion", _one_of("m1", "")),
    _field("promptFeedback", _one_of({"blockReason": "SAFETY"}, {})),
    _stranger,
)
_payload: Final = st.one_of(
    *[_response] * 6,
    st.builds(lambda r: {"response": r, "traceId": "t"}, _response),
    _one_of({"error": {"code": 503}}, {"error": None}, {"type": "ping"}, {}, 5, []),
    values,
)


def texts_only(texts: Sequence[tuple[int, bool, str]]) -> list[Json]:
    """Return responses of texts alone: index, thought, text."""
    return [
        {"candidates": [{"content": {"parts": [part]}, "index": index}]}
        for index, thought, text in texts
        for part in [{"text": text, "thought": True} if thought else {"text": text}]
    ]


# --- Bodies ---------------------------------------------------------------------------


def encode(payload: Json, indent: int | None = None) -> bytes:
    """Write JSON as servers do: strings as they are, but for halves."""
    text = json.dumps(payload, ensure_ascii=False, indent=indent)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(payload, indent=indent).encode()


def as_events(payloads: Sequence[Json], end: bytes = b"\n\n") -> bytes:
    """Frame payloads as an event stream."""
    return b"".join(b"data: " + encode(payload) + end for payload in payloads)


def as_crlf(payloads: Sequence[Json]) -> bytes:
    """Frame payloads as an event stream whose lines end in CRLF."""
    return as_events(payloads, b"\r\n\r\n")


def as_array(payloads: Sequence[Json]) -> bytes:
    """Frame payloads as the array that Google sends."""
    return b"[" + b"\n,\r\n".join(encode(p, 2) for p in payloads) + b"\n]\n"


def as_compact(payloads: Sequence[Json]) -> bytes:
    """Frame payloads as an array on one line, behind a byte order mark."""
    return b"\xef\xbb\xbf[" + b",".join(encode(p) for p in payloads) + b"]"


def as_lines(payloads: Sequence[Json]) -> bytes:
    """Frame payloads as JSON lines."""
    return b"".join(encode(payload) + b"\n" for payload in payloads)


def as_mixture(payloads: Sequence[Json]) -> bytes:
    """Frame payloads as events, every third without `data:`."""
    frames: list[Callable[[Json], bytes]] = [
        lambda p: as_events([p]),
        lambda p: as_events([p]),
        lambda p: encode(p, 1) + b"\n\n",
    ]
    pairs = zip(cycle(frames), payloads, strict=False)
    return b"".join(frame(payload) for frame, payload in pairs)


FORMS: Final = (as_events, as_crlf, as_array, as_compact, as_lines, as_mixture)

payload_lists: Final = st.lists(_payload, max_size=5)
forms: Final = st.sampled_from(FORMS)
_whole: Final = st.builds(lambda form, payloads: form(payloads), forms, payload_lists)


def _mutate(body: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, size, new in edits:
        start = at % (len(body) + 1)
        body = body[:start] + new + body[start + size :]
    return body


_junk: Final = st.sampled_from(
    (
        *(
            b"",
            b"\n",
            b"\n\n",
            b"\r",
            b'"',
            b"\\",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b"\xff",
        ),
        *(
            b"data: ",
            b"data: [DONE]\n\n",
            b"event: error\n",
            b'error: {"a":1}\n',
            b": c\n",
        ),
        *(b'{"error":{"code":1}}\n', b"\xef\xbb\xbf", b"null", b"NaN", b"<html>"),
    )
)
_edits: Final = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from((0, 0, 1, 2, 9, 5000)), _junk),
    max_size=3,
)
bodies: Final = _whole | st.builds(_mutate, _whole, _edits)

# The sizes of feeds, used in turn.
sizes: Final = st.lists(
    st.sampled_from((0, 1, 1, 2, 3, 7, 20, 100, 1000)), min_size=1, max_size=5
).filter(any)
limits: Final = st.sampled_from(
    (
        *(Limits(), Limits(), Limits(), Limits(event_bytes=60), Limits(choices=1)),
        *(Limits(tool_calls=1), Limits(stream_bytes=150), Limits(held_bytes=2000)),
    )
)

fold: Final = partial(strategies.fold_reads, protocol=PROTOCOL)
