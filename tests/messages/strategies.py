"""Streams of Messages as servers send them, and worse."""

import json
from functools import partial
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests import strategies
from tests.strategies import damaged, pieces, values
from unstream import Limits
from unstream.messages import PROTOCOL

Json: TypeAlias = Any
Object: TypeAlias = dict[str, Json]


def write(sent: Json, name: str | None = None) -> bytes:
    """Write an event as the API does, or under another name ("": none)."""
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    name = sent.get("type") if name is None and isinstance(sent, dict) else name
    named = f"event: {name}\n".encode("utf-8", "replace") if name else b""
    return named + b"data: " + data + b"\n\n"


def stream(*sent: Json) -> bytes:
    """Write a stream of events."""
    return b"".join(map(write, sent))


fold_reads: Final = partial(strategies.fold_reads, protocol=PROTOCOL)

# --- The events of one block, briefly -------------------------------------------------

TEXT: Final = {"type": "text", "text": ""}
CALL: Final = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
STOP: Final = {"type": "message_stop"}


def start(identity: str = "msg_1", **more: Json) -> Object:
    message = {
        "id": identity,
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
        **more,
    }
    return {"type": "message_start", "message": message}


def begin(index: int, block: Object) -> Object:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: Json, kind: str, **what: Json) -> Object:
    sent = {"type": kind, **what}
    return {"type": "content_block_delta", "index": index, "delta": sent}


def text(index: Json, piece: Json) -> Object:
    return delta(index, "text_delta", text=piece)


def input_json(index: Json, piece: Json) -> Object:
    return delta(index, "input_json_delta", partial_json=piece)


def end(index: int) -> Object:
    return {"type": "content_block_stop", "index": index}


def change(reason: Json = "end_turn", usage: Json = None, **more: Json) -> Object:
    sent = {"stop_reason": reason, "stop_sequence": None, **more}
    return {"type": "message_delta", "delta": sent, "usage": usage}


# --- Whole messages, and how a server streams them ------------------------------------

# Halves of surrogates are another matter: they are mended.
_texts: Final = st.text(max_size=12) | st.sampled_from(
    ("", "a", '"\\', "\n\n", "data: ", "\u2028", "😀", "{}", "é")
)
_inputs: Final = st.dictionaries(
    st.sampled_from(("a", "path", "é", "")),
    st.none() | st.booleans() | st.integers() | _texts | st.lists(_texts, max_size=2),
    max_size=3,
)
_whole_blocks: Final = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, _texts),
    st.builds(
        lambda t, c: {"type": "text", "text": t, "citations": c},
        _texts,
        st.lists(st.fixed_dictionaries({"cited_text": _texts}), min_size=1, max_size=3),
    ),
    st.builds(
        lambda t, s: {"type": "thinking", "thinking": t, "signature": s}, _texts, _texts
    ),
    st.builds(lambda d: {"type": "redacted_thinking", "data": d}, _texts),
    st.builds(
        lambda n, i: {"type": "tool_use", "id": n, "name": "f", "input": i},
        _texts,
        _inputs,
    ),
    st.builds(
        lambda n, i: {"type": "server_tool_use", "id": n, "name": "s", "input": i},
        _texts,
        _inputs,
    ),
    st.builds(
        lambda c: {"type": "web_search_tool_result", "tool_use_id": "s", "content": c},
        st.lists(_inputs, max_size=2) | _inputs,
    ),
    st.builds(lambda c: {"type": "compaction", "content": c}, _texts),
)
_counts: Final = st.integers(0, 10**6)
_usages: Final = st.fixed_dictionaries(
    {"input_tokens": _counts, "output_tokens": _counts},
    optional={
        "cache_read_input_tokens": _counts,
        "cache_creation": st.fixed_dictionaries({"ephemeral_5m_input_tokens": _counts}),
        "server_tool_use": st.fixed_dictionaries({"web_search_requests": _counts}),
        "service_tier": st.sampled_from(("standard", "priority")),
        "iterations": st.lists(st.just({"type": "message"}), max_size=2),
    },
)
whole_messages: Final[SearchStrategy[Object]] = st.fixed_dictionaries(
    {
        "id": st.sampled_from(("msg_1", "msg_é")),
        "type": st.just("message"),
        "role": st.just("assistant"),
        "model": st.sampled_from(("m", "m-2")),
        "content": st.lists(_whole_blocks, max_size=4),
        "stop_reason": st.sampled_from(("end_turn", "tool_use", "max_tokens")),
        "stop_sequence": st.none() | _texts,
        "usage": _usages,
    },
    optional={
        "container": st.none() | st.just({"id": "c"}),
        "stop_details": st.none() | st.just({"type": "refusal"}),
        "x_new": values.filter(lambda value: "\\ud83d" not in json.dumps(value)),
    },
)
# What a delta carries, by the key that it appends to.
_DELTAS: Final = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "content": ("compaction_delta", "content"),
    "input": ("input_json_delta", "partial_json"),
}


@st.composite
def _cut_text(draw: DrawFn, whole: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]


@st.composite
def streamed(draw: DrawFn, message: Object) -> list[Object]:
    """Stream a whole message as the API does, its texts cut anywhere."""
    first = {key: message[key] for key in ("id", "type", "role", "model")}
    events = [
        {
            "type": "message_start",
            "message": {
                **first,
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {**message["usage"], "output_tokens": 1},
            },
        }
    ]
    for index, block in enumerate(message["content"]):
        events += draw(_streamed_block(index, block))
    rest = ("content", "usage", *first)
    events.append(
        {
            "type": "message_delta",
            "delta": {key: v for key, v in message.items() if key not in rest},
            "usage": {"output_tokens": message["usage"]["output_tokens"]},
        }
    )
    return [*events, STOP]


@st.composite
def _streamed_block(draw: DrawFn, index: int, block: Object) -> list[Object]:
    opened = dict(block)
    events: list[Object] = []
    for key, (kind, name) in _DELTAS.items():
        whole = block.get(key)
        if key == "input" and type(whole) is dict:
            opened[key] = {}
            whole = json.dumps(whole) if whole else draw(st.sampled_from(("", "{}")))
        elif type(whole) is str:
            opened[key] = None if key == "content" else ""
        else:
            continue
        cut = draw(_cut_text(whole))
        events += [delta(index, kind, **{name: piece}) for piece in cut]
    for cited in opened.pop("citations", ()):
        opened["citations"] = draw(st.sampled_from(([], None)))
        events.append(delta(index, "citations_delta", citation=cited))
    if opened.get("signature"):
        events.append(delta(index, "signature_delta", signature=opened["signature"]))
        opened["signature"] = ""
    return [begin(index, opened), *events, end(index)]


# --- Events of any kind ---------------------------------------------------------------

_indexes: Final = st.sampled_from(
    (*(0,) * 8, *(1,) * 4, 2, 7, 10**12, None, -1, "0", True, 1.0)
)
_any_blocks: Final = st.sampled_from(
    (
        *(TEXT, TEXT, TEXT, {"type": "text", "text": "a", "citations": None}),
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "redacted_thinking", "data": "Zg=="},
        *(CALL, {**CALL, "id": "t2"}, {**CALL, "input": {"a": 1}}),
        {"type": "tool_use", "id": "t1", "name": "f"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "fallback", "from": {"model": "m"}, "to": {"model": "n"}},
        {"type": "compaction", "content": None},
        {"type": "hologram", "frames": "", "n": 1, "partial_json": "{"},
        *({}, {"type": 5, "text": 6}, {"type": "text", "text": ["x"]}),
    )
)
_json_pieces: Final = st.sampled_from(
    ("", " ", "{", '{"a":', "1}", "{}", '"\\ud83d', "[1]", "NaN", '"}', "\ud83d")
)
_any_deltas: Final = st.one_of(
    st.builds(lambda t: {"type": "text_delta", "text": t}, pieces),
    st.builds(lambda t: {"type": "text_delta", "text": t}, pieces),
    st.builds(lambda t: {"type": "thinking_delta", "thinking": t}, pieces),
    st.builds(
        lambda t, n: {"type": "thinking_delta", "thinking": t, "estimated_tokens": n},
        pieces,
        st.sampled_from((None, 50, 100, "p")),
    ),
    st.builds(lambda t: {"type": "input_json_delta", "partial_json": t}, _json_pieces),
    st.builds(lambda t: {"type": "input_json_delta", "partial_json": t}, _json_pieces),
    st.builds(lambda t: {"type": "signature_delta", "signature": t}, pieces),
    st.builds(lambda c: {"type": "citations_delta", "citation": c}, values),
    st.builds(lambda c: {"type": "compaction_delta", "content": c}, pieces),
    st.builds(lambda k, v: {"type": "hologram_delta", k: v}, pieces, values),
    st.builds(
        lambda k, v: {"text": "a", k: v},
        st.sampled_from(("frames", "n", "text", "id", "type", "input")),
        values,
    ),
    values,
)
_any_usages: Final = st.one_of(
    _usages,
    st.dictionaries(
        st.sampled_from(("input_tokens", "output_tokens", "cache_creation", "x")),
        values,
        max_size=3,
    ),
    values,
)
_beside: Final = st.dictionaries(
    st.sampled_from(("x", "error", "content", "usage", "id", "type", "stop_reason")),
    values,
    max_size=1,
)
_any_messages: Final = st.builds(
    lambda held, usage, content, more: {
        **start(held, usage=usage, content=content)["message"],
        **more,
    },
    st.sampled_from(("msg_1", "msg_1", "msg_1", "msg_2", "")),
    _any_usages,
    st.just([]) | st.just([]) | st.lists(_any_blocks | values, max_size=2),
    st.just({}) | _beside,
)
_any_starts: Final = st.builds(
    lambda message, more: {**more, "type": "message_start", "message": message},
    _any_messages | _any_messages | values,
    st.just({}) | _beside,
)
_any_events: Final = st.one_of(
    _any_starts,
    st.builds(begin, _indexes, _any_blocks | _any_blocks | values),
    st.builds(begin, _indexes, _any_blocks),
    *[
        st.builds(
            lambda i, d: {"type": "content_block_delta", "index": i, "delta": d},
            _indexes,
            _any_deltas,
        )
    ]
    * 4,
    st.builds(end, _indexes),
    st.builds(
        lambda d, u, more: {**more, "type": "message_delta", "delta": d, "usage": u},
        st.sampled_from(({"stop_reason": "end_turn"}, {"stop_reason": None}, {}))
        | _beside
        | values,
        _any_usages,
        st.just({}) | _beside,
    ),
    st.sampled_from(
        (
            *(STOP, {"type": "ping"}, {"type": "error", "error": {"message": "x"}}),
            *({"error": "x"}, {"choices": []}, {"type": "hum"}, {}, 5, []),
        )
    ),
    _any_messages,
    values,
)


@st.composite
def _runs(draw: DrawFn) -> list[Json]:
    """Give what most of a stream is: like deltas in a row."""
    index = draw(_indexes)
    many = draw(st.lists(_any_deltas, min_size=1, max_size=3))
    texts = draw(st.lists(pieces, min_size=2, max_size=12))
    kind = draw(st.sampled_from((text, text, input_json)))
    events: list[Json] = [kind(index, piece) for piece in texts]
    for odd in many[1:]:
        place = draw(st.integers(0, len(events)))
        events.insert(
            place, {"type": "content_block_delta", "index": index, "delta": odd}
        )
    return events


event_lists: Final[SearchStrategy[list[Json]]] = st.lists(
    st.lists(_any_events, min_size=1, max_size=4) | _runs(), max_size=5
).map(lambda lists: [start(), begin(0, TEXT), *(e for each in lists for e in each)])


@st.composite
def _written(draw: DrawFn) -> bytes:
    named = draw(st.sampled_from((None, None, "", "", "error", "message_stop")))
    events = draw(event_lists | event_lists | st.lists(_any_events, max_size=6))
    body = b"".join(write(sent, named) for sent in events)
    body += draw(st.sampled_from((b"", b"", write(STOP), b"data: [DONE]\n\n")))
    line_end = draw(st.sampled_from((b"\n", b"\n", b"\r\n", b"\r")))
    return body.replace(b"\n", line_end)


_BODIES: Final = (
    b"",
    b"<html>502</html>",
    b"[]",
    b'{"type":"message"}',
    b'{"type":"message","content":[{"type":"text"},5,null],"error":{"a":1}}',
    b'{"type":"message","content":[{"type":"tool_use"},{"type":"tool_use"}]}',
    b'{"type":"message","content":[{"type":"text","text":"\\ud83d \xff',
    b'{"type":"error","error":{"message":"no"}}',
    b'{"type":"message_start","message":{"id":"x"}}',
)

streams: Final = st.one_of(
    _written(), _written(), damaged(_written()), st.sampled_from(_BODIES)
)
"""The bytes of a response, whatever it may be."""

limits: Final = st.just(Limits()) | st.builds(
    Limits,
    stream_bytes=st.integers(1, 1500),
    held_bytes=st.integers(1, 5000),
    choices=st.integers(1, 2),
    tool_calls=st.integers(1, 2),
)
