"""Streams aimed at the fast roads: runs of events that are like each other, nearly.

What the roads spare is to look at an event anew that equals an earlier one but for its
text. So these are streams of events that equal each other but for a byte, that put the
text where another text stood, or that change what an equal event does next.
"""

import json
import random
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from unstream.chat._fields import CHOICE, DELTA, TOP
from unstream.chat._schema import (
    Chunk,
    ChunkChoice,
    Delta,
    FunctionDelta,
    ToolCallDelta,
)

__all__ = ["BODIES", "FRAMES", "event", "one_of_each", "stream"]

# The pieces of an event around its holes: behind a quote there is a hole for a text,
# behind a colon or a comma one for a value.
Frame: TypeAlias = Sequence[bytes]


def _call(piece: bytes) -> tuple[bytes, ...]:
    whole = b'{"choices":[{"index":0,"delta":{"tool_calls":[' + piece + b"]}}]}"
    return tuple(whole.split(b"@"))


def _chunk(text: bytes) -> tuple[bytes, ...]:
    return tuple(text.split(b"@"))


FRAMES: Final[Sequence[Frame]] = (
    *map(
        _chunk,
        (
            b'{"id":"i","choices":[{"index":0,"delta":{"content":"@"}}]}',
            b'{"id":"j","choices":[{"index":0,"delta":{"content":"@"}}]}',
            b'{"id":"i","choices":[{"index":1,"delta":{"content":"@"}}]}',
            b'{"id":"i","choices":[{"index":1.0,"delta":{"content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@"},"finish_reason":null}]}',
            b'{"choices":[{"delta":{"content": "@"},"finish_reason": null}]}',
            b'{"choices": [{"delta" :{"content": "@"}}]}',
            b'{"choices":[{"delta":{"content" :"@"}}]}',
            b'{"choices":[{"delta":{"content" : "@"}}]}',
            b'{"choices":[{"delta":{"content":"@"}}],"\\"content":"@"}',
            b'{"choices":[{"delta":{"content":"@"},"finish_reason":"stop"}]}',
            b'{"choices":[{"delta":{"reasoning":"@"}}]}',
            b'{"choices":[{"delta":{"content":null,"reasoning_content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"","reasoning_content":"@"}}]}',
            b'{"choices":[{"delta":{"refusal":"@"}}]}',
            b'{"choices":[{"delta":{"role":"assistant","content":"@"}}],"p":"@"}',
            b'{"obfuscation":"@","choices":[{"delta":{"content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@"}}],"obfuscation":"@","p":"@"}',
            b'{"choices":[{"delta":{"content":"@"},"obfuscation":"@"}]}',
            b'{"choices":[{"delta":{"obfuscation":"@","content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@"}}],"obfuscation":@}',
            b'{"choices":[{"delta":{"content":"@","reasoning":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@","content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@"},"delta":{"reasoning":"@"}}]}',
            b'{"choices":[],"choices":[{"delta":{"content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@"}}],"content":"@"}',
            b'{"choices":[{"delta":{"content":"@"}}],"x":"content"}',
            b'{"choices":[{"delta":{"content":"@"}}],"x":"content" }',
            b'{"choices":[{"delta":{"cont\\u0065nt":"@"}}]}',
            b'{"choices":[{"index":0,"text":"@"}]}',
            b'{"choices":[{"index":0,"text":"@","delta":{"content":"@"}}]}',
            b'{"choices":[{"index":0,"message":{"content":"@"}}]}',
            b'{"choices":{"index":0,"delta":{"content":"@"}}}',
            b'{"choices":[{"delta":{"content":"@"}},{"index":1,"delta":{"content":"@"}}]}',
            b'{"choices":[{"index":7,"delta":{"content":"@"}},{"delta":{"content":"b"}}]}',
            b'{"choices":[{"delta":{"content":[{"type":"text","text":"@"}]}}]}',
            b'{"choices":[{"delta":{"content":{},"reasoning":"@"}}]}',
            b'{"choices":[{"delta":{"content":[""],"reasoning":"@"}}]}',
            b'{"choices":[{"delta":{"content":[{"text":"@"},{"text":"@"}]}}]}',
            (
                b'{"choices":[{"delta":{"content":[{"type":"thinking","thinking":'
                b'[{"type":"text","text":"@"}],"closed":true}]}}],"p":"@"}'
            ),
            (
                b'{"choices":[{"delta":{"content":[{"type":"reasoning","summary":'
                b'[{"text":"@","x":[1]}]}]}}]}'
            ),
            b'{"choices":[{"delta":{"content":[{"type":"a","thinking":"@"}]}}]}',
            (
                b'{"choices":[{"delta":{"content":"","reasoning":"@",'
                b'"reasoning_details":[{"type":"t","text":"@","index":0}]}}]}'
            ),
            b'{"choices":[{"delta":{"reasoning_details":[{"type":"t","data":"@"}]}}]}',
            (
                b'{"choices":[{"delta":{"reasoning_details":[{"type":"t","text":"@"},'
                b'{"type":"t","text":"@"}]}}]}'
            ),
            b'{"choices":[{"delta":{"reasoning_details":[],"reasoning":"@"}}]}',
            b'{"choices":[{"delta":{"reasoning_details":{"text":"@","index":@}}}]}',
            b'{"service_tier":"@","choices":[{"delta":{"content":"@"}}]}',
            b'{"choices":[{"delta":{"x_note":"@","content":"@"}}]}',
            b'{"choices":[{"delta":{"x_note":"@"}}]}',
            b'{"x_note":"@","choices":[{"delta":{"content":"@"}}]}',
            b'{"x\\"n":1,"choices":[{"delta":{"content":"@"}}]}',
            b'{"*extra":{"x":1},"choices":[{"delta":{"content":"@","":1}}]}',
            b'{"choices":[{"delta":{"content":"@"}}],"x_n":@}',
            b'{"x_n":@,"x_m":@,"choices":[{"delta":{"reasoning":"@"}}]}',
            b'{"created":@,"choices":[{"delta":{"content":"@"}}]}',
            b'{"id":@,"model":@,"choices":[{"delta":{"content":"@"}}]}',
            b'{"id":"@","model":"@","choices":[{"delta":{"content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@","x_tag":@}}]}',
            b'{"choices":[{"delta":{"content":"@","plan":{"a":@,"b":@}}}]}',
            b'{"choices":[{"text":@,"delta":{"id":@,"content":"@"}}]}',
            b'{"choices":[{"index":@,"delta":{"content":"@"}}]}',
            b'{"choices":[{"delta":{"content":"@"}}],"usage":@}',
            b'{"choices":[],"usage":@}',
            b'{"choices":[{"delta":{"content":"@"}}],"x_groq":@}',
            b'{"choices":[{"delta":{"content":"@"},"token_ids":@}]}',
            b'{"choices":[{"delta":{"content":"@"},"usage":@}]}',
            b'{"choices":[{"index":1,"delta":{"content":"@"},"usage":@}]}',
            b'{"choices":[{"delta":{"content":"@"},"logprobs":{"content":@}}]}',
            (
                b'{"choices":[{"delta":{"content":"@"},"logprobs":{"content":@,'
                b'"refusal":null}}]}'
            ),
            b'{"choices":[{"logprobs":{"content":@,"refusal":@},"delta":{}}]}',
            b'{"choices":[{"delta":{"content":"@"},"logprobs":@,"x":1}]}',
            b'{"id":7,"choices":[{"delta":{"content":"@"},"logprobs":{"content":@}}]}',
            b'{"choices":[{"delta":{"content":"@"},"logprobs":{"tokens":@}}],"x":@}',
            b'{"choices":[{"delta":{"content":"@"},"content_filter_results":@}]}',
            (
                b'{"choices":[{"delta":{"content":"@"},"native_finish_reason":@,'
                b'"stop_reason":@}]}'
            ),
            b'{"type":"x","choices":[{"delta":{"content":"@"}}]}',
            b'{"object":"error","choices":[{"delta":{"content":"@"}}]}',
            b'{"error":"@","choices":[{"delta":{"content":"@"}}]}',
        ),
    ),
    *map(
        _call,
        (
            b'{"index":0,"function":{"arguments":"@"}}',
            b'{"index":1,"function":{"arguments":"@"}}',
            b'{"index":"1","function":{"arguments":"@"}}',
            b'{"function":{"arguments":"@"}}',
            b'{"index":null,"function":{"arguments":"@"}}',
            b'{"index":0,"function":{"name":"f","arguments":"@"}}',
            b'{"index":0,"function":{"name":"g","arguments":"@"}}',
            b'{"function":{"name":"f","arguments":"@"}}',
            b'{"index":0,"id":"a","type":"function","function":{"arguments":"@"}}',
            b'{"index":0,"id":"b","function":{"arguments":"@"}}',
            b'{"id":"a","function":{"arguments":"@"}}',
            b'{"id":"a","function":{"name":"f","arguments":"@"}}',
            b'{"custom":{"input":"@"}}',
            b'{"index":0,"custom":{"input":"@"}}',
            b'{"index":0,"type":"custom","function":{"arguments":"@"}}',
            b'{"index":0,"function":{"arguments":"@"},"function":null,"custom":{"input":"x"}}',
            b'{"index":0,"function":{},"custom":{"input":"@"}}',
            b'{"index":0,"function":{"arguments":"@","x":1}}',
            b'{"index":0,"function":{"arguments":"@"},"x":@}',
            b'{"index":0,"function":{"arguments":"@","obfuscation":"@"}}',
            b'{"index":0,"function":{"arguments":@}}',
            b'{"index":@,"id":@,"function":{"arguments":"@"}}',
            b'{"index":0,"function":{"arguments":"@"}},{"index":1,"function":{"arguments":"@"}}',
            b'{"index":9,"function":{"arguments":"@"}},{"index":0,"function":{"arguments":"b"}}',
            b'{},{"index":0,"function":{"arguments":"@"}}',
        ),
    ),
    _chunk(b'{"choices":[{"delta":{"tool_calls":{"function":{"arguments":"@"}}}}]}'),
    _chunk(b'{"choices":[{"delta":{"function_call":{"arguments":"@"}}}]}'),
    _chunk(
        b'{"choices":[{"delta":{"content":"@","tool_calls":[{"index":0,'
        b'"function":{"arguments":"@"}}]}}]}'
    ),
    _chunk(
        b'{"choices":[{"delta":{"arguments":"@","tool_calls":[{"index":0,'
        b'"custom":{"input":"@"}}]}}]}'
    ),
)

# What could make joined bodies differ from the bodies: quotes, escapes and characters
# at their edges, halves of those, control characters, look-alikes of what follows.
BODIES: Final = (
    *(b"a", b" hello", b"{", b"}", b"{}", b"", b"\\n", b'\\"', b"\\\\", b"\\/"),
    *(b"\\u00e9", b"\xc3\xa9", b"content", b"x" * 90),
    *(b"\\", b'"', b'\\\\"', b'\\\\\\"', b'a"b"c', b"\\x", b"\\u12", b"34", b"n"),
    *(b"\\ud83d", b"\\ude00", b"\\uD83D\\uDE00", b"\xc3", b"\xa9", b"\xf0\x9f"),
    *(b"\x98\x80", b"\xff", b"\xed\xa0\xbd", b"\t", b"\0", b"\x7f", b"\r", b"\n"),
    *(b'"}}]}', b'","x":"', b'","content":"z', b'"},"finish_reason":"stop"}]}'),
    b'"}}]}\n\ndata: {"choices":[{"delta":{"content":"',
    b"\n\ndata: [DONE]\n\n",
)
_TAME: Final = 10

# The same for values: one that is two, or none, or of another type than the others, or
# equal in Python and not in JSON.
_VALUES: Final = (
    *(b"1", b"true", b"1.0", b"2", b"2.0", b"0", b"false", b"-0.0", b"0.0", b"37"),
    *(
        b'"s"',
        b'"t"',
        b'""',
        b"null",
        b"[]",
        b"[ ]",
        b"{}",
        b"[1]",
        b"[true]",
        b"[1.0]",
    ),
    *(b'{"n":1}', b'{"n":true}', b'{"n":2,"o":null}', b'{"n":2}', b'{"n": 2}'),
    *(b'{"total_tokens":3}', b'{"total_tokens":3,"d":{"x":null}}', b'{"o":1,"n":2}'),
    *(b'[{"token":"a"}]', b' [{"token" : "\\""}] ', b'[{"token":"b"},1]', b"[3, 4]"),
    *(b"1.5", b"-0", b"1e400", b"01", b"1" * 21, b"1" * 400, b" 7 ", b"NaN", b"[NaN]"),
    *(b'{"n":1e400}', b'{"n":"\\ud83d"}', b'{"n":"\xff"}', b'["\\ud83d"]', b'["\xff"]'),
    *(b"", b"[1],[2]", b"1,2", b'5,"choices":[]', b"[1]}", b"[", b'"', b'"a', b"[01]"),
    *(b'["\0"]', b'["],["]', b'{"a":"}}],\\"x_n\\":1"}', b'"\\u00e9"', b'"\\ud83d"'),
    *(b"[" * 160 + b"]" * 160, b"[" * 140 + b"]" * 140, b'{"error":{"message":"m"}}'),
    *(b"[" + b"{}," * 40 + b"{}]", b"[1e5,2E+5]", b"[" + b"9" * 299 + b"e99]"),
)

_BETWEEN: Final = (
    b"data: [DONE]\n\n",
    b": keep-alive\n\n",
    b"\n",
    b"\r\n\r\n",
    b"id: 7\n",
    b"retry: 5\n\n",
    b"event: error\n",
    b"error: x\n",
    b"data: nonsense\n\n",
    b"data: \n\n",
    b"data: {}\n\n",
    b'data: {"x":1}\n\n',
    b'data: {"type":"ping","usage":{"n":1}}\n\n',
    b'data: {"error":{"message":"m"}}\n\n',
    b'data: {"choices":[],"usage":{"total_tokens":9}}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\n',
    b'data: {"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"L"}]}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
    b'data: {"id":"k","choices":[]}\n\n',
    b'error: {"choices":[{"delta":{"content":"F"}}]}\n',
    b"event: error\r\r\n",
    b"foo\n\n",
    b'event: x\ndata: {"choices":[{"delta":{"content":"E"}}]}\n\n',
    b'data: {"choices":\ndata: [{"delta":{"content":"torn"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"R"}}]}\ndata: [DONE]\n\n',
    *(
        b"data: " + b"".join(_call(piece)) + b"\n\n"
        for piece in (
            b'{"index":0,"id":"a","function":{"name":"f","arguments":""}}',
            b'{"index":0,"id":"b","function":{"name":"g","arguments":""}}',
            b'{"index":1,"id":"c","function":{"name":"h"}}',
            b'{"id":"d","function":{"name":"f","arguments":"{}"}}',
            b'{"function":{"name":"f","arguments":"{}"}}',
            b'{"index":0,"id":"a"}',
            b'{"id":"a","custom":{"name":"n","input":"x"}}',
        )
    ),
)

# A byte that differs, in place of another or between two.
_BYTES: Final = (b'0123456789 "x,:{}[]\\nt\t\xc3\0').decode("latin-1").encode("latin-1")


def event(payload: bytes) -> bytes:
    """Write a payload as an event."""
    return b"data: %b\n\n" % payload


def _fill(rng: random.Random, frame: Frame, values: Sequence[bytes]) -> bytes:
    first, *others = frame
    pieces = [first]
    for other in others:
        pool = BODIES if pieces[-1].endswith(b'"') else values
        if pool is BODIES and rng.random() < 0.95:
            pool = BODIES[:_TAME]
        pieces += [rng.choice(pool), other]
    return b"".join(pieces)


def _alter(rng: random.Random, payload: bytes) -> bytes:
    """Change one thing."""
    at = rng.randrange(len(payload) + 1)
    byte = bytes([rng.choice(_BYTES)])
    key = rng.choice((b'"content":"dup",', b'"x":1,', b'"index":1,', b'"id":"z",'))
    turn = rng.random()
    if turn < 0.25:
        return payload[:at] + byte + payload[at + 1 :]
    if turn < 0.4:
        return payload[:at] + byte + payload[at:]
    if turn < 0.5:
        return payload[:at] + payload[at + 1 :]
    if turn < 0.7:
        return payload.replace(b":", b": ", rng.randrange(4))
    place = rng.choice((b'{"', b',"'))
    found = payload.find(place, at)
    return payload if found < 0 else payload[: found + 1] + key + payload[found + 1 :]


def stream(rng: random.Random) -> bytes:
    """Build a stream of runs of like events, with what is unlike among them."""
    frames = rng.sample(FRAMES, rng.choice([1, 1, 2, 2, 3, 4]))
    values = rng.choice((_VALUES, _VALUES[:3], _VALUES[3:8], rng.sample(_VALUES, 3)))
    pieces = []
    for _ in range(rng.randint(1, 5)):
        if rng.random() < 0.5:
            pieces.append(rng.choice(_BETWEEN))
        by_turns = rng.random() < 0.4
        frame = rng.choice(frames)
        alike = _fill(rng, frame, values) if rng.random() < 0.3 else None
        for _ in range(rng.choice([1, 2, 5, 14, 20, 70])):
            if by_turns:
                frame = rng.choice(frames)
            payload = alike or _fill(rng, frame, values)
            if rng.random() < 0.03:
                payload = _alter(rng, payload)
            pieces.append(event(payload))
    whole = b"".join(pieces)
    if rng.random() < 0.15:
        whole = whole.replace(b"\n\n", rng.choice([b"\r\n\r\n", b"\n", b"\n\n\n"]), 3)
    if rng.random() < 0.15:
        whole = whole[: rng.randint(0, len(whole))]
    return whole


# --- Every key that there is ----------------------------------------------------------

_LEVELS: Final[Sequence[tuple[type[Struct], Sequence[str], bytes]]] = (
    (Chunk, tuple(TOP), b'{#"choices":[{"index":0,"delta":{"content":"@"}}]}'),
    (ChunkChoice, tuple(CHOICE), b'{"choices":[{#"index":0,"delta":{"content":"@"}}]}'),
    (Delta, tuple(DELTA), b'{"choices":[{"index":0,"delta":{#"content":"@"}}]}'),
    (
        ToolCallDelta,
        ("custom", "x"),
        (
            b'{"choices":[{"delta":{"tool_calls":[{#"index":0,'
            b'"function":{"arguments":"@"}}]}}]}'
        ),
    ),
    (
        FunctionDelta,
        ("input", "x"),
        (
            b'{"choices":[{"delta":{"tool_calls":[{"index":0,'
            b'"function":{#"arguments":"@"}}]}}]}'
        ),
    ),
)


def one_of_each() -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Yield each key of each level: an event without it, and events that have it."""
    for kind, more, frame in _LEVELS:
        for key in dict.fromkeys((*kind.__struct_encode_fields__, *more)):
            plain = frame.replace(b"#", b"")
            variants = [
                frame.replace(b"#", json.dumps(key).encode() + b":" + value + b",")
                for value in _VALUES[:31]
            ]
            yield f"{kind.__name__}.{key}", plain, variants
